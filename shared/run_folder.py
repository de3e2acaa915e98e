"""The folder of a run: made, claimed by one run alone, and found again after a restart."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

from shared import ranks
from shared.checkpoints import find_checkpoint
from shared.config import Config, to_yaml
from shared.errors import UsageError
from shared.files import RUNS, next_version, versions_of, write_atomically

# In a run folder: by which torchrun the run was started.
RUN_ID = ".torchrun"


def create_run_dir(side: str, config: Config) -> Path:
    """Make the folder of a run that trains, with its resolved `config.yaml`.

    A run that resumes from `last` or `best` stays in the folder of that checkpoint. Otherwise the
    folder is `--run_dir`, or the next free version; it is claimed by making it, so two runs started
    at the same moment never share one.

    In a run of several processes the first makes the folder, and tells the others its name.

    Raises:
        UsageError: `--run_dir` holds a run already, and this one does not resume it.
    """
    if config.fast_dev_run or ranks.rank() > 0:
        return RUNS / side / config.dataset / "fast_dev_run"  # only a name: nothing is written
    if config.ckpt_path in ("last", "best"):
        run_dir = find_checkpoint(side, config).parent.parent
        # The summary says that a run has finished; from here on this one has not.
        (run_dir / "summary.json").unlink(missing_ok=True)
    elif config.run_dir is not None:
        run_dir = Path(config.run_dir)
        run_dir.mkdir(parents=True, exist_ok=True)
        if not _claim(run_dir) and not _is_ours(run_dir):
            advice = "give another folder, or resume it with --ckpt_path last"
            if not (run_dir / "checkpoints" / "last.ckpt").exists():
                advice = "it has no checkpoint: give another folder, or delete this one if it ended"
            raise UsageError(f"--run_dir: {run_dir} holds a run already; {advice}")
    else:
        run_dir = next_version(RUNS / side / config.dataset)
    (run_dir / "checkpoints").mkdir(exist_ok=True)
    _remove_partial(run_dir)
    if run_id := ranks.run_id():
        write_atomically(run_dir / RUN_ID, run_id)
    resolved = dataclasses.replace(config, run_dir=str(run_dir), ckpt_path=None)
    write_atomically(run_dir / "config.yaml", to_yaml(resolved))
    return run_dir


def _claim(run_dir: Path) -> bool:
    """Take the folder for a new run. If several runs try at the same moment, one gets it, because
    only one can make the folder within."""
    if (run_dir / "config.yaml").exists():
        return False
    try:
        (run_dir / "checkpoints").mkdir()
    except FileExistsError:
        return False
    return True


def _remove_partial(run_dir: Path) -> None:
    """Remove what a killed run has left of the files that it was writing. Parts of predictions.csv
    stay, since another program may be writing that file now."""
    parts = [run_dir.glob(f".{name}-????????") for name in ("config.yaml", "summary.json", RUN_ID)]
    parts += [(run_dir / "checkpoints").glob(f".{name}.ckpt-????????") for name in ("last", "best")]
    for path in itertools.chain(*parts):
        path.unlink(missing_ok=True)


def _is_ours(run_dir: Path) -> bool:
    path = run_dir / RUN_ID
    return ranks.run_id() is not None and path.is_file() and path.read_text() == ranks.run_id()


def after_restart(side: str, config: Config) -> Config:
    """The configuration of a run that torchrun has started again, because one of its processes died
    (`--max_restarts`): it resumes in its old folder, from its last checkpoint."""
    if not ranks.restarted() or config.fast_dev_run:
        return config
    parent = RUNS / side / config.dataset
    folders = [parent / f"version_{version}" for version in sorted(versions_of(parent))[::-1]]
    if config.run_dir is not None:
        folders = [Path(config.run_dir)]
    run_dir = next((folder for folder in folders if _is_ours(folder)), None)
    if run_dir is None:
        return config
    has_checkpoint = (run_dir / "checkpoints" / "last.ckpt").is_file()
    ckpt_path = "last" if has_checkpoint else config.ckpt_path
    return dataclasses.replace(config, run_dir=str(run_dir), ckpt_path=ckpt_path)
