"""Reading what two runs left in their folders."""

from __future__ import annotations

import contextlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.config import Config
from shared.errors import UsageError
from shared.files import RUNS, SIDES, versions_of

# What may differ between two runs of the same recipe.
OWN = {"run_dir", "data_dir", "ckpt_path", "progress_bar", "num_workers", "log_every_n_steps"}
CURVES = ("train/loss", "val/loss", "train/accuracy", "val/accuracy")


@dataclass(frozen=True)
class FinishedRun:
    """A run as it lies in its folder.

    Attributes:
        summary: the content of `summary.json`.
        config: that of `config.yaml`.
        scalars: for each of `CURVES`, values by step.
    """

    folder: Path
    summary: dict[str, Any]
    config: dict[str, Any]
    scalars: dict[str, dict[int, float]]


def read_run(side: str, folder: Path) -> FinishedRun:
    """Read a run folder of a side.

    Raises:
        UsageError: it holds no finished run of this side; the message names the flag.
    """
    import yaml

    flag = {"raw_pytorch": "--raw", "lightning": "--lightning"}[side]
    try:
        summary = json.loads((folder / "summary.json").read_text())
        config = yaml.safe_load((folder / "config.yaml").read_text())
    except FileNotFoundError as error:
        name = Path(error.filename).name
        raise UsageError(f"{flag}: {folder} holds no {name}; give the folder of a run") from None
    except (ValueError, yaml.YAMLError):
        raise UsageError(f"{flag}: {folder} holds a damaged summary.json or config.yaml") from None
    made_by = summary.get("implementation")
    if made_by != side:
        other = " (were the two swapped?)" if made_by in SIDES else ""
        raise UsageError(f"{flag}: {folder} holds a run of {made_by}, not of {side}{other}")
    return FinishedRun(folder, summary, config, read_scalars(folder))


def newest_run(side: str, config: Config) -> Path | None:
    """The newest finished run of a side with this configuration, where runs lie by default."""
    import yaml

    assert config.dataset is not None
    wanted = {name: value for name, value in vars(config).items() if name not in OWN}
    parent = RUNS / side / config.dataset
    for version in sorted(versions_of(parent), reverse=True):
        folder = parent / f"version_{version}"
        with contextlib.suppress(OSError, ValueError, AttributeError, yaml.YAMLError):
            values = yaml.safe_load((folder / "config.yaml").read_text())
            found = {name: value for name, value in values.items() if name not in OWN}
            if (folder / "summary.json").is_file() and found == wanted:
                return folder
    return None


def read_scalars(folder: Path) -> dict[str, dict[int, float]]:
    """The curves in TensorBoard's event files: for each tag, values by step."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    # Lightning draws the model's graph twice, which TensorBoard's reader finds worth a word.
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    tags = set(events.Tags()["scalars"])
    return {t: {e.step: e.value for e in events.Scalars(t)} for t in CURVES if t in tags}


def other_settings(raw: FinishedRun, lightning: FinishedRun) -> list[str]:
    """The names of the settings in which two runs differ."""
    names = [*raw.config, *(n for n in lightning.config if n not in raw.config)]
    return [n for n in names if n not in OWN and raw.config.get(n) != lightning.config.get(n)]


def largest_difference(
    raw: FinishedRun, lightning: FinishedRun, tag: str
) -> tuple[float, int] | None:
    """Between the two runs' values at the same steps, and at how many; None if at none."""
    ours, theirs = raw.scalars.get(tag, {}), lightning.scalars.get(tag, {})
    steps = ours.keys() & theirs.keys()
    return (max(abs(ours[s] - theirs[s]) for s in steps), len(steps)) if steps else None
