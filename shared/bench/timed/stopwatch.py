"""Note when a training program takes its optimizer steps; the program is not touched.

python -m shared.bench.timed.stopwatch TIMES STEPS -- -m raw_pytorch.train [arguments]
python -m shared.bench.timed.stopwatch TIMES STEPS -- script.py [arguments]

At its end, or after STEPS steps if that is not 0, the times go to the file TIMES: seconds of
`time.perf_counter`, the clock of the machine, which the process that started this one reads too;
and the seconds of CPU that this process has taken up to the first step, or its end if it took none.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from shared.divergence.launch import run_program

OPTIMIZERS = "torch.optim.optimizer"


class Stopwatch(MetaPathFinder):
    """Waits until the program imports torch, so that its own order of imports is kept, and is then
    told of every optimizer step by torch itself."""

    def __init__(self, path: Path, limit: int) -> None:
        self.path, self.limit = path, limit
        self.steps: list[float] = []
        self.cpu: float | None = None

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        if name != OPTIMIZERS:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            execute = loader.exec_module

            def execute_and_register(module: Any) -> None:
                execute(module)
                module.register_optimizer_step_post_hook(self.step)

            loader.exec_module = execute_and_register
        return spec

    def step(self, *_: Any) -> None:
        self.steps.append(time.perf_counter())
        if self.cpu is None:
            self.cpu = time.process_time()
        if len(self.steps) == self.limit:
            self.write()
            os._exit(0)  # what comes after is not asked for

    def write(self) -> None:
        cpu = time.process_time() if self.cpu is None else self.cpu
        times = {"steps": self.steps, "ended": time.perf_counter(), "cpu": cpu}
        self.path.write_text(json.dumps(times))


def main() -> None:
    path, limit, _, *program = sys.argv[1:]
    stopwatch = Stopwatch(Path(path), int(limit))
    sys.meta_path.insert(0, stopwatch)
    run_program(program)
    stopwatch.write()


if __name__ == "__main__":
    main()
