"""The command lines of the instruments."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import NoReturn

from shared.errors import fail


class InstrumentParser(ArgumentParser):
    """A parser that answers a wrong flag with one line, as the programs of both sides do."""

    def error(self, message: str) -> NoReturn:
        fail(message, 2)
