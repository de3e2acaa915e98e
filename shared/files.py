"""Where runs lie, and how their files are written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

RUNS = Path("runs")
SIDES = ("raw_pytorch", "lightning")


def versions_of(parent: Path) -> list[int]:
    """The numbers of the folders `version_<number>` in a folder, which may not be there yet."""
    names = os.listdir(parent) if parent.is_dir() else []
    return [int(n[8:]) for n in names if n.startswith("version_") and n[8:].isdecimal()]


def next_version(parent: Path) -> Path:
    """Claim the next free `version_<number>` by making it."""
    parent.mkdir(parents=True, exist_ok=True)
    version = max(versions_of(parent), default=-1) + 1
    while True:
        try:
            (parent / f"version_{version}").mkdir()
            return parent / f"version_{version}"
        except FileExistsError:
            version += 1


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that whoever looks sees the old one or the new one, whole."""
    data = content.encode() if isinstance(content, str) else content
    descriptor, partial = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files that only their owner may read; a run folder is for everyone.
        os.chmod(partial, 0o666 & ~_umask())
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
