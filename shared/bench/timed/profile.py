"""Where in Lightning's source a step's time goes, on the rung that is written as lightning/ is.

python -m shared.bench.timed.profile RESULT [flags of train]

A profiler makes every call slower, so what counts are the shares and the number of the calls. What
a function calls that is built in, as `isinstance`, counts as its own.
"""

from __future__ import annotations

import cProfile
import importlib.util
import json
import os
import pstats
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from shared.bench.results import Profile, ProfiledFunction
from shared.bench.timed.series import VARIABLE, batches_of
from shared.cli import parse_args
from shared.config import Config
from shared.errors import RunError, run
from shared.files import write_atomically

PACKAGES = ("pytorch_lightning", "lightning_fabric", "torchmetrics")
FLAGS = ("--width", "1", "--batch_size", "4", "--max_epochs", "2")
MOST = 10  # functions that are kept
# Lines that the findings are about: a file of a package, and what stands in the line.
LINES = {
    "driver": ("lightning_fabric", "__init__.py", "PYTORCH_NVML_BASED_CUDA_CHECK"),
    "metrics": ("pytorch_lightning", "core/module.py", "from torchmetrics import"),
    "vision": ("torchmetrics", "functional/image/arniqa.py", "from torchvision import"),
    "moved": (
        "pytorch_lightning", "trainer/connectors/logger_connector/result.py", "[key].to(value",
    ),
    "name": ("pytorch_lightning", "trainer/call.py", "_current_fx_name = hook_name"),
    "compiler": ("torch", "optim/optimizer.py", "import torch._dynamo"),
}  # fmt: skip


def profiled(config: Config) -> Profile:
    """Train twice on that rung, the second time with a profiler."""
    from shared.bench.timed import ladder

    batches = batches_of(config)
    os.environ[VARIABLE] = "1"
    ladder.train_on("written", config, batches)  # code is loaded for the first time
    profiler = cProfile.Profile()
    profiler.runcall(ladder.train_on, "written", config, batches)
    statistics: Any = pstats.Stats(profiler)
    functions = most(statistics.stats, len(batches) + 1)
    return {"functions": functions, "places": {name: line_of(*LINES[name]) for name in LINES}}


def line_of(package: str, file: str, text: str) -> str:
    """Where the text stands first in a file of an installed package, as `package/file:line`.

    Raises:
        RunError: it stands nowhere; another version is installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is not None and spec.origin is not None:
        source = (Path(spec.origin).parent / file).read_text(encoding="utf-8")
        for number, line in enumerate(source.splitlines(), start=1):
            if text in line and not line.lstrip().startswith("#"):
                return f"{package}/{file}:{number}"
    raise RunError(f"{package}/{file} has no line with {text}; look where it has gone")


def most(stats: dict[Any, Any], steps: int) -> list[ProfiledFunction]:
    """From what `pstats` holds: for each function (file, line, name) its calls, its own time, and
    for each of its callers the same."""
    own: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for function, (_, count, seconds, _, callers) in stats.items():
        if place := place_of(function):
            own[place] += seconds
            calls[place] += count
        elif function[0] == "~":  # built in
            for caller, (_, _, part, _) in callers.items():
                if place := place_of(caller):
                    own[place] += part
    whole = sum(own.values())
    return [
        {
            "where": place,
            "calls": round(calls[place] / steps, 1),
            "share": round(seconds / whole, 4),
        }
        for place, seconds in own.most_common(MOST)
    ]


def place_of(function: tuple[str, int, str]) -> str | None:
    """A function of Lightning as `package/file.py:line name`; None for any other."""
    parts = Path(function[0]).parts
    package = next((name for name in PACKAGES if name in parts), None)
    if package is None:
        return None
    file = "/".join(parts[parts.index(package) :])
    return f"{file}:{function[1]} {function[2]}"


def main() -> None:
    path, *flags = sys.argv[1:]
    config, _ = parse_args("shared.bench.timed.profile", [*flags, *FLAGS])
    write_atomically(Path(path), json.dumps(run(lambda: profiled(config))))


if __name__ == "__main__":
    main()
