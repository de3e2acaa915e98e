"""The example of the divergence tool in the README: a copy of the raw basic.py that lacks a line,
against the other side's basic.py."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from shared.errors import RunError
from shared.mistakes.edits import Edit, changed
from shared.processes import ROOT

NAME = "my_loop.py"
FORGOTTEN = Edit("basic.py", "optimizer.zero_grad()", "pass")


def report() -> str:
    """What the tool prints, from the first difference to the advice. Both programs are run.

    Raises:
        RunError: it found no difference.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / NAME
        path.write_text(changed("raw_pytorch", [FORGOTTEN])["basic.py"])
        programs = f"python {NAME}", "python -m lightning.basic"
        done = subprocess.run(
            [sys.executable, "-m", "shared.divergence", *programs],
            cwd=folder,
            # The last digits of a norm depend on the number of threads.
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        # Wherever the folder lies, seen from this project.
        shown = re.sub(
            r"^([AB] ) \S*?(my_loop\.py|lightning/basic\.py):", r"\1 \2:", done.stdout, flags=re.M
        )
    if "FIRST DIFFERENCE" not in shown:
        said = " ".join((done.stdout + done.stderr).split())
        raise RunError(f"the example of the divergence tool shows no difference: {said[-300:]}")
    body = shown[shown.index("FIRST DIFFERENCE") : shown.index("\n\nStep")]
    return f"```text\n{body}\n```"
