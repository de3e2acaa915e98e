"""Testing a checkpoint of a run.

python -m raw_pytorch.test --ckpt_path best
"""

from __future__ import annotations

from pathlib import Path

from shared import results
from shared.config import Config, parse_args, run


def test(config: Config) -> tuple[Path, dict[str, float]]:
    """Test a checkpoint of either side.

    Returns:
        The checkpoint's path, and `test/loss` and `test/accuracy` over the test split.
    """
    from raw_pytorch import devices
    from raw_pytorch.data import ImageData
    from raw_pytorch.evaluate import evaluate
    from raw_pytorch.module import ImageClassifier

    device = devices.choose(config.accelerator)
    ckpt_path = results.find_checkpoint("raw_pytorch", config)
    saved = results.check_checkpoint(ckpt_path, config, resume=False)
    data = ImageData(
        config.dataset, config.data_dir, config.batch_size, config.seed, config.num_workers, device
    )
    data.prepare_data()
    data.setup()
    module = ImageClassifier(**saved[results.MODULE_HPARAMS])
    module.load_state_dict(saved["state_dict"])
    module.to(device)
    test_metrics = {"test/loss": module.test_loss, "test/accuracy": module.test_accuracy}
    loader = data.test_dataloader()
    return ckpt_path, evaluate(module, module.test_step, loader, test_metrics, device)  # [test]


def main() -> None:
    config, _ = parse_args("raw_pytorch.test")
    results.print_test(*run(lambda: test(config)))


if __name__ == "__main__":
    main()
