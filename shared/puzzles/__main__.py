"""Puzzles that are checked to the bit.

python -m shared.puzzles        (make puzzle)        the list, and how far you are
python -m shared.puzzles 7      (make puzzle N=7)    opens one
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping

from shared.errors import UsageError, run
from shared.forks.client import open_forks
from shared.puzzles.catalogue import puzzles
from shared.puzzles.progress import read_progress
from shared.puzzles.saying import Speaker
from shared.ranks import forget_leftovers
from shared.reporting.command_line import InstrumentParser
from shared.reporting.words import LANGUAGES
from shared.signals import leave_on_signal


def main() -> None:
    leave_on_signal()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Ctrl+C leaves without a word
    parser = InstrumentParser(prog="python -m shared.puzzles", description=__doc__)
    parser.add_argument("number", nargs="?", metavar="N", help="the puzzle to open")
    parser.add_argument(
        "--language",
        choices=list(LANGUAGES),
        default=language_of(os.environ),
        help="en or zh (Traditional Chinese); without it, as the system is set",
    )
    args = parser.parse_args()
    try:
        status = run(lambda: play(args.number, Speaker(args.language)))
    except KeyboardInterrupt:  # between two errors that are told
        status = 130
    raise SystemExit(status)


def language_of(environment: Mapping[str, str]) -> str:
    """The language of the system, as far as it is one of ours: that of the first variable set."""
    given = (environment.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    first = next((value for value in given if value), "")
    return "zh" if first.lower().startswith("zh") else "en"


def play(number: str | None, speaker: Speaker) -> int:
    """Show the list, or open a puzzle.

    Raises:
        UsageError: there is no such puzzle.
    """
    all_of_them = puzzles()
    if number is None:
        print("\n".join(speaker.the_list(all_of_them, read_progress())))
        return 0
    if not (number.isdecimal() and 1 <= int(number) <= len(all_of_them)):
        raise UsageError(f"N: got {number}; expected a number from 1 to {len(all_of_them)}")
    try:
        forget_leftovers()
    except ValueError as error:
        raise UsageError(str(error)) from None
    # Sums are taken in another order by another number of threads; one leaves a core to the editor.
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        from shared.puzzles.session import Keyboard, Session  # with torch, which the list need not

        with open_forks() as forks:
            session = Session(all_of_them, forks, speaker, Keyboard(sys.stdin.fileno()), show_line)
            return session.run(all_of_them[int(number) - 1])
    except KeyboardInterrupt:  # one way to leave, as quit is: make would call 130 an error
        print()
        return 0


def show_line(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
