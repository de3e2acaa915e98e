"""Testing a checkpoint of a run.

python -m raw_pytorch.test --ckpt_path best
"""

from __future__ import annotations

from pathlib import Path

from shared import checkpoints, summary
from shared.cli import parse_args
from shared.config import Config
from shared.errors import run


def test(config: Config) -> tuple[Path, dict[str, float]]:
    """Test a checkpoint of either side.

    Returns:
        The checkpoint's path, and `test/loss` and `test/accuracy` over the test split.
    """
    from raw_pytorch import devices, distributed, evaluate
    from raw_pytorch.data import ImageData
    from raw_pytorch.module import ImageClassifier
    from raw_pytorch.precision import Precision

    device = devices.choose(config)
    distributed.start(device)
    precision = Precision(config.precision, device)
    ckpt_path = checkpoints.find_checkpoint("raw_pytorch", config)
    saved = checkpoints.check_checkpoint(ckpt_path, config, resume=False)
    data = ImageData(**config.data_hparams(), device=device)
    data.prepare_data()
    data.setup()
    module = ImageClassifier(**saved[checkpoints.MODULE_HPARAMS])
    module.load_state_dict(saved["state_dict"])
    module.to(device)
    limit = 1 if config.fast_dev_run else None
    loader = data.test_dataloader()
    return ckpt_path, evaluate.test(module, loader, device, precision, limit)  # [test] once


def main() -> None:
    config, _ = parse_args("raw_pytorch.test")
    from raw_pytorch.distributed import launch

    run(lambda: launch("raw_pytorch.test", config) or summary.print_test(*test(config)))


if __name__ == "__main__":
    main()
