"""Predictions: predictions.csv for the test split, or answers for pictures of your own.

python -m raw_pytorch.predict --images a.png b.jpg
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from shared import checkpoints, summary
from shared.cli import parse_args
from shared.config import Config
from shared.errors import run

if TYPE_CHECKING:
    from torch import Tensor


def predict(config: Config, images: Sequence[str] = ()) -> Tensor:
    """Classify the test split, or the pictures in the files `images`.

    Returns:
        Probabilities float32 [N, 10], in the order of the split or of the files.
    """
    import torch

    from raw_pytorch import devices, distributed
    from raw_pytorch.data import ImageData
    from raw_pytorch.module import ImageClassifier
    from raw_pytorch.precision import Precision
    from shared import pictures
    from shared.ranks import gather

    device = devices.choose(config)
    distributed.start(device)
    precision = Precision(config.precision, device)
    ckpt_path = checkpoints.find_checkpoint("raw_pytorch", config)
    saved = checkpoints.check_checkpoint(ckpt_path, config, resume=False)
    module = ImageClassifier(**saved[checkpoints.MODULE_HPARAMS])
    module.load_state_dict(saved["state_dict"])
    module.to(device)
    data = ImageData(**config.data_hparams(), device=device)
    if images:
        loader, images, problems = pictures.make_loader(config, images)
    else:
        data.prepare_data()
        data.setup()
        loader = data.predict_dataloader()
    # [predict] Without dropout, and without gradients that nobody asks for.
    module.eval()
    with torch.inference_mode(), precision.autocast():
        batches = [
            module.predict_step(devices.move(batch, device), batch_idx).cpu()
            for batch_idx, batch in enumerate(loader)
        ]
    probabilities = torch.cat(batches)
    if not images:
        probabilities = gather(probabilities)  # [ddp] complete, and in order
    if images:
        summary.print_answers(module.hparams["classes"], images, probabilities, problems)
    else:
        summary.write_predictions(ckpt_path, data.splits["test"], probabilities)
    return probabilities


def main() -> None:
    config, images = parse_args("raw_pytorch.predict", images=True)
    from raw_pytorch.distributed import launch

    run(lambda: launch("raw_pytorch.predict", config) or predict(config, images))


if __name__ == "__main__":
    main()
