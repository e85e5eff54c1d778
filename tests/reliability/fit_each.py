"""`python fit_each.py RUNS`: `rnn-hf fit` with each list of arguments of the JSON file RUNS, one after another.

Under torchrun the processes find each other once for all the runs: to start takes longer than these runs do.
"""

import json
import sys
from pathlib import Path

from rnn_hf.cli import main

for arguments in json.loads(Path(sys.argv[1]).read_text()):
    if code := main(["fit", *arguments]):
        sys.exit(code)
