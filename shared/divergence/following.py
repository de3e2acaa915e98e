"""A process that ends with the one that started it, also where that is killed and cannot end it."""

from __future__ import annotations

import ctypes
import signal
import sys

PR_SET_PDEATHSIG = 1
# Looked up here, since between fork and exec as little as possible is done.
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def follow_parent() -> None:
    """Ask Linux for it; other systems have no such thing."""
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
