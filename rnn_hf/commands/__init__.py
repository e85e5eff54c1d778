"""The verbs of the `rnn-hf` command, one file each; `run(argv)` does the work. `common.py` has what they share."""
