"""stdout and stderr, wherever they lead: to a terminal that lacks some letters, to a pipe whose
reader has gone, to a window that was closed, or nowhere."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TextIO


class Screen(io.TextIOWrapper):
    """A stream that takes any text: a letter that its encoding lacks is printed as Python would
    write it. Text that nobody can read any more is dropped, and the program goes on.

    Raises:
        OSError: it cannot be written for another reason, such as a full disk; and only once.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(
            stream.buffer,
            encoding=stream.encoding,
            errors="backslashreplace",
            line_buffering=getattr(stream, "line_buffering", False),
            write_through=getattr(stream, "write_through", False),
        )
        self.origin = stream  # which would close the buffer if it were let go

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        # What is left in the buffer has to go somewhere, or Python would complain at its end.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise OSError(error.errno, error.strerror, self.name)


def read_utf8() -> None:
    """Begin anew, with the same arguments, where Python was told that all text is ASCII: the names
    of files are UTF-8 all the same, and no other file could say them."""
    if sys.getfilesystemencoding() == "ascii" and os.environ.get("PYTHONUTF8") != "1":
        screen = getattr(sys.stdout, "encoding", "ascii")
        told = {"PYTHONIOENCODING": f"{screen}:backslashreplace", "PYTHONUTF8": "1"}
        command = [sys.executable, *sys.orig_argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **told})  # noqa: S606  no shell is needed


def open_screens() -> None:
    """Make `sys.stdout` and `sys.stderr` such streams, unless somebody has put others in their
    place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file would have its number, and get what is printed
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            setattr(sys, name, open(number, "w" if number else "r"))  # noqa: SIM115
            setattr(sys, f"__{name}__", getattr(sys, name))
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__") and not isinstance(stream, Screen):
            setattr(sys, name, Screen(stream))
