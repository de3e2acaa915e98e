"""Testing a checkpoint of a run.

python -m raw_pytorch test --ckpt_path best
"""

from collections.abc import Mapping
from pathlib import Path

from raw_pytorch import checkpoint, devices, distributed, evaluate
from raw_pytorch.data import ImageData
from raw_pytorch.precision import Precision
from shared.checkpoints import check_checkpoint, find_checkpoint
from shared.config import Config


def test(config: Config) -> tuple[Path, Mapping[str, float]]:
    """Test a checkpoint of either side.

    Returns:
        The checkpoint's path, and `test/loss` and `test/accuracy` over the test split.
    """
    device = devices.choose(config)
    distributed.start(device)
    precision = Precision(config.precision, device)
    ckpt_path = find_checkpoint("raw_pytorch", config)
    saved = check_checkpoint(ckpt_path, config, resume=False)
    data = ImageData(**config.data_hparams(), device=device, fast_dev_run=config.fast_dev_run)
    data.prepare_data()
    data.setup("test")
    module = checkpoint.load_module(saved)
    module.to(device)
    return ckpt_path, evaluate.test(module, data.test_dataloader(), device, precision)
