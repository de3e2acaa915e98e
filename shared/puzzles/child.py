"""Runs a learner's file as `python` would, and writes down what the loop did: a process of its own.

python child.py FOLDER FILE SECONDS       writes record.jsonl, result.json and stack.txt to FOLDER
"""

from __future__ import annotations

import faulthandler
import functools
import hashlib
import inspect
import json
import os
import re
import runpy
import sys
import traceback
from pathlib import Path
from typing import Any

from torch.multiprocessing import ProcessRaisedException

from shared.divergence.recording.recorder import Recorder

HERE = Path(__file__).resolve().parent
# Where the solutions stand.
KEPT = tuple(str(HERE / name) for name in ("finds", "loops", "ports", "solutions"))
STEPS = 10**6


class Watch:
    """What a file does that the recorder does not write down.

    Attributes:
        points: what was logged, as (tag, step, value) in the order in which it was.
        copied: the file of this folder that was opened or imported.
    """

    def __init__(self) -> None:
        self.points: list[tuple[str, int, float]] = []
        self.copied = ""

    def install(self) -> None:
        from torch.utils.tensorboard import SummaryWriter

        owner: Any = SummaryWriter
        add_scalar = owner.add_scalar
        signature = inspect.signature(add_scalar)

        @functools.wraps(add_scalar)
        def watched(*args: Any, **kwargs: Any) -> None:
            given = signature.bind(*args, **kwargs).arguments
            step, value = given.get("global_step"), given["scalar_value"]
            self.points.append((given["tag"], -1 if step is None else int(step), float(value)))
            add_scalar(*args, **kwargs)

        owner.add_scalar = watched
        sys.addaudithook(self.look)

    def look(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], (str, bytes)):
            path = os.path.abspath(os.fsdecode(arguments[0]))
            if path.startswith(KEPT):
                self.copied = path


def fingerprint(module: Any) -> str:
    """SHA-256 over all weights and buffers by name; empty for what has none."""
    if not hasattr(module, "state_dict"):
        return ""
    total = hashlib.sha256()
    for name, value in module.state_dict().items():
        total.update(name.removeprefix("net.").encode())
        total.update(value.detach().float().contiguous().numpy().tobytes())
    return total.hexdigest()


def steps_of(trainer: Any) -> int:
    """The optimizer steps of a Trainer of Lightning; 0 of anything else."""
    lightning = sys.modules.get("pytorch_lightning")
    if lightning is None or not isinstance(trainer, lightning.Trainer):
        return 0
    return int(trainer.global_step)


def line_in(file: str, error: BaseException) -> int:
    """The innermost line of the file on the way to an error; 0 if there is none."""
    if is_of_another_process(error):
        told = re.findall(rf'File "{re.escape(file)}", line (\d+)', str(error))
        return int(told[-1]) if told else 0
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return (lines or [0])[-1] or 0


def said(error: BaseException) -> str:
    """An error in one line, with its kind."""
    lines = str(error).strip().splitlines() or [""]
    if is_of_another_process(error):
        return lines[-1]
    return f"{type(error).__name__}: {lines[0]}".removesuffix(": ")


def is_of_another_process(error: BaseException) -> bool:
    """Whether it tells of an error in a process that the file has started, with its traceback."""
    return isinstance(error, ProcessRaisedException)


def main() -> None:
    folder, file, seconds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    import torch

    torch.set_num_threads(1)
    sys.argv = [file]
    sys.path[0] = os.path.dirname(file)
    watch = Watch()
    watch.install()
    result: dict[str, Any] = {"how": "finished", "error": "", "line": 0}
    with open(folder / "stack.txt", "w") as stack:
        faulthandler.dump_traceback_later(seconds, file=stack)
        try:
            with Recorder(folder / "record.jsonl", STEPS):
                left = runpy.run_path(file, run_name="__main__")
            result["weights"] = fingerprint(left.get("module"))
            result["trainer_steps"] = steps_of(left.get("trainer"))
        except SystemExit as error:
            result.update(how="left", line=line_in(file, error))
        except BaseException as error:
            result.update(how="crashed", error=said(error), line=line_in(file, error))
        faulthandler.cancel_dump_traceback_later()
    result.update(points=watch.points, copied=watch.copied)
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
