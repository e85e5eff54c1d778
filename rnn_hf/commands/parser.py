"""`Parser`: argparse whose errors are a ValueError with a suggestion. No torch here."""

import argparse
import itertools
from typing import NoReturn

from ..models.suggestion import suggestion


class Parser(argparse.ArgumentParser):
    """Raises ValueError with a suggestion where argparse would print its usage and exit."""

    def __init__(self, **kwargs):
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)

    def parse_args(self, argv):
        options = itertools.takewhile(lambda word: word != "--", argv)
        for word in options:  # before argparse, which would first ask for the option that was misspelt
            name = word.partition("=")[0]
            if name.startswith("--") and " " not in name and name not in self._option_string_actions:
                near = suggestion(name, self._option_string_actions)
                raise ValueError(f"{self.prog}: unknown argument {word!r}{near}")
        arguments, unknown = self.parse_known_args(argv)
        if unknown:
            raise ValueError(f"{self.prog}: unknown argument {unknown[0]!r}; `{self.prog} --help` explains")
        return arguments

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{self.prog}: {message}; `{self.prog} --help` explains")
