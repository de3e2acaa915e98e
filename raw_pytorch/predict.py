"""Predictions: predictions.csv for the test split, or answers for pictures of your own.

python -m raw_pytorch predict --images a.png b.jpg
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from raw_pytorch import checkpoint, devices, distributed
from raw_pytorch.data import ImageData
from raw_pytorch.precision import Precision
from shared import pictures
from shared.checkpoints import check_checkpoint, find_checkpoint
from shared.config import Config
from shared.ranks import gather
from shared.summary import print_answers, write_predictions


def predict(config: Config, images: Sequence[str] = ()) -> Tensor:
    """Classify the test split, or the pictures in the files `images`.

    Returns:
        Probabilities float32 [N, classes], in the order of the split or of the files.
    """
    device = devices.choose(config)
    distributed.start(device)
    precision = Precision(config.precision, device)
    ckpt_path = find_checkpoint("raw_pytorch", config)
    saved = check_checkpoint(ckpt_path, config, resume=False)
    module = checkpoint.load_module(saved)
    module.to(device)
    data = ImageData(**config.data_hparams(), device=device)
    if images:
        loader, images, problems = pictures.make_loader(config, images)
    else:
        data.prepare_data()
        data.setup("predict")
        loader = data.predict_dataloader()
    # [predict] Without dropout, and without gradients that nobody asks for.
    module.eval()
    with torch.inference_mode(), precision.autocast():
        batches = [
            module.predict_step(devices.move(batch, device), batch_idx).cpu()
            for batch_idx, batch in enumerate(loader)
        ]
    probabilities = torch.cat(batches)
    if images:
        print_answers(module.hparams["classes"], images, probabilities, problems)
        return probabilities
    probabilities = gather(probabilities)  # [ddp] from all processes, in the order of the split
    write_predictions(ckpt_path, data.splits["test"], probabilities)
    return probabilities
