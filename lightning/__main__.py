"""python -m lightning train --dataset mnist --max_epochs 1"""

from __future__ import annotations

import importlib
from typing import Any

from shared import summary
from shared.cli import parse_command
from shared.errors import run


def main() -> None:
    command, config, images = parse_command("lightning")
    run(lambda: start(command, config, images))


def start(command: str, config: Any, images: list[str]) -> None:
    program = importlib.import_module(f"lightning.{command}")
    if command == "predict":
        program.predict(config, images)
    elif command == "test":
        summary.print_test(*program.test(config))
    else:
        summary.print_summary(program.fit(config))


if __name__ == "__main__":
    main()
