"""Lines of the program's own code, told from those of libraries and of Python."""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
from pathlib import Path
from types import TracebackType

from ..records import Where

OWN = str(Path(__file__).resolve().parents[1]) + os.sep
STDLIB = tuple(
    {sysconfig.get_paths()[name] + os.sep for name in ("stdlib", "platstdlib")}
    | {os.path.dirname(os.path.realpath(os.__file__)) + os.sep}
)


@functools.cache
def is_own_code(file: str) -> bool:
    """Whether a file belongs to the program and not to a library, to Python or to this tool."""
    if file.startswith("<") or file.startswith(OWN) or os.path.realpath(file).startswith(OWN):
        return False
    if "site-packages" in file or "dist-packages" in file:
        return False
    return not file.startswith(STDLIB)


def where(limit: int = 4) -> Where:
    found: Where = []
    frame = sys._getframe(1)
    while frame is not None and len(found) < limit:
        code = frame.f_code
        if is_own_code(code.co_filename):
            found.append((os.path.abspath(code.co_filename), frame.f_lineno, code.co_name))
        frame = frame.f_back  # type: ignore[assignment]  # the loop ends there
    return found


def is_called_directly() -> bool:
    """Whether the program's own code made the call that is looked at, and not a library for it."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(OWN):
        frame = frame.f_back  # type: ignore[assignment]  # the loop ends there
    return frame is not None and is_own_code(frame.f_code.co_filename)


def where_raised(trace: TracebackType | None) -> Where:
    found: Where = []
    while trace is not None:
        code = trace.tb_frame.f_code
        if is_own_code(code.co_filename):
            found.insert(0, (os.path.abspath(code.co_filename), trace.tb_lineno, code.co_name))
        trace = trace.tb_next
    return found[:4]
