"""Mistakes made on purpose in a side that is loaded in this process."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import linecache
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType


@contextlib.contextmanager
def made(side: str, sources: dict[str, str], folder: Path) -> Iterator[None]:
    """Put changed files of a side in the place of the real ones.

    Args:
        sources: the changed files by name; they are written to `folder`, for whoever asks for the
            line of an error.
    """
    package = importlib.import_module(side)
    importlib.import_module(f"{side}.train")
    before = {name: m for name, m in sys.modules.items() if name.startswith(f"{side}.")}
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _forget(package)
        for name, source in sources.items():
            (folder / name).write_text(source)
        linecache.checkcache()
        package.__path__.insert(0, str(folder))
        importlib.invalidate_caches()
        yield
    finally:
        package.__path__.remove(str(folder))
        _forget(package)
        sys.modules.update(before)
        for name, module in before.items():
            setattr(package, name.removeprefix(f"{side}."), module)


def _forget(package: ModuleType) -> None:
    """Have all modules of a package read anew. `from package import name` asks the package first,
    so it must not know them either."""
    prefix = f"{package.__name__}."
    for name in [name for name in sys.modules if name.startswith(prefix)]:
        del sys.modules[name]
        with contextlib.suppress(AttributeError):
            delattr(package, name.removeprefix(prefix))
