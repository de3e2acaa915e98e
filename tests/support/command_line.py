"""The command line of the raw side, read in this process."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

from shared.cli import parse_args
from shared.config import Config


def parse(argv: Sequence[str], **options: Any) -> tuple[Config | None, int, str]:
    """The configuration, or None; the exit status; and what was written to stderr."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            return parse_args("raw_pytorch train", argv, **options)[0], 0, err.getvalue()
    except SystemExit as leaving:
        return None, leaving.code, err.getvalue()


def refused(argv: Sequence[str], **options: Any) -> str:
    config, status, err = parse(argv, **options)
    assert (config, status) == (None, 2)
    assert err.startswith("error: ")
    assert err.endswith("\n")
    assert len(err.splitlines()) == 1, err
    assert "usage:" not in err
    return err.strip()


def bomb(levels: int) -> str:
    """YAML for 10 to the power of `levels` words, in a few lines."""
    lines = ["&a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"&a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, levels)]
    return "[" + ",\n".join(lines) + "]"
