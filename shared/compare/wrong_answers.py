"""The test pictures that the best weights of two runs got wrong with the most confidence."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.compare.runs import FinishedRun

if TYPE_CHECKING:
    from torch import Tensor

SHOWN = 12


@dataclass(frozen=True)
class WrongAnswer:
    """A test picture, as the data of a PNG, its class, and for each run the answer and the
    confidence."""

    index: int
    png: str
    truth: str
    raw: tuple[str, float]
    lightning: tuple[str, float]


def wrong_answers(raw: FinishedRun, lightning: FinishedRun) -> list[WrongAnswer]:
    """The surest wrong answers of either run, the worst first.

    Raises:
        RunError: a checkpoint is damaged, or the data is not there.
    """
    import torch

    from shared import data
    from shared.figures import find_mistakes

    name = raw.summary["dataset"]
    size = raw.config["image_size"]
    data.prepare(name, raw.config["data_dir"], size)
    split = data.load(name, raw.config["data_dir"], size)["test"]
    classes = split.classes
    answers = [_answers(run.folder, split) for run in (raw, lightning)]
    worst: dict[int, float] = {}
    for probabilities in answers:
        for index in find_mistakes(split.labels, probabilities)[:SHOWN].tolist():
            worst[index] = max(worst.get(index, 0.0), probabilities[index].max().item())

    def answer(probabilities: Tensor, index: int) -> tuple[str, float]:
        confidence, label = torch.max(probabilities[index], dim=0)
        return classes[label], confidence.item()

    return [
        WrongAnswer(
            index,
            _png(split.images[index]),
            classes[split.labels[index]],
            *(answer(probabilities, index) for probabilities in answers),
        )
        for index in sorted(worst, key=lambda i: (-worst[i], i))[:SHOWN]
    ]


def _answers(folder: Path, split: Any) -> Tensor:
    """Probabilities float32 [N, 10] of the best weights, on the CPU."""
    import torch

    from shared.checkpoint_format import MODULE_HPARAMS
    from shared.checkpoints import read_checkpoint
    from shared.model import make_network

    checkpoint = read_checkpoint(folder / "checkpoints" / "best.ckpt")
    weights, made = checkpoint["state_dict"], checkpoint[MODULE_HPARAMS]
    net = make_network(
        made["model"], made["in_shape"], len(made["classes"]), made["dropout"], made["width"]
    ).eval()
    net.load_state_dict({k[4:]: v for k, v in weights.items() if k.startswith("net.")})
    with torch.inference_mode():
        images = torch.arange(len(split)).split(1000)
        return torch.cat([net(split.__getitems__(i.tolist())[0]) for i in images]).softmax(dim=1)


def _png(picture: Tensor) -> str:
    """As the data of a PNG in base64; shades dark on light.

    Args:
        picture: uint8 [1, H, W], or [3, H, W] for colours.
    """
    from PIL import Image

    out = io.BytesIO()
    pixels = 255 - picture[0] if len(picture) == 1 else picture.permute(1, 2, 0)
    Image.fromarray(pixels.numpy()).save(out, format="PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()
