"""The pictures in TensorBoard: where a model errs, and how surely."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from shared.data import ImageDataset

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch.utils.tensorboard import SummaryWriter

MISTAKES, ACROSS = 15, 5  # pictures, and how many of them beside each other
# A matrix of more classes is drawn without numbers and names, which nobody could read.
MOST_CLASSES = 60


def add_figures(
    writer: SummaryWriter, split: ImageDataset, probabilities: Tensor, step: int
) -> None:
    """Write `val/confusion_matrix` and `val/mistakes`.

    Args:
        probabilities: float32 [N, classes], in the order of the split.
    """
    classes = tuple(_written(name) for name in split.classes)
    probabilities = probabilities.float().cpu()
    writer.add_figure("val/confusion_matrix", confusion_figure(classes, split, probabilities), step)
    writer.add_figure("val/mistakes", mistakes_figure(classes, split, probabilities), step)


def _written(name: str) -> str:
    """A folder's name as matplotlib can write it: not too long, and a dollar is no formula."""
    return (name if len(name) <= 14 else f"{name[:13]}…").replace("$", r"\$")


def confusion_figure(
    classes: tuple[str, ...], split: ImageDataset, probabilities: Tensor
) -> Figure:
    """How often each class (row) was taken for each class (column)."""
    from matplotlib.figure import Figure

    size = len(classes)
    cells = split.labels.cpu() * size + probabilities.argmax(dim=1)
    counts = cells.bincount(minlength=size**2).reshape(size, size)
    is_written = size <= MOST_CLASSES
    # Small and of many points, so that its numbers can be read on TensorBoard's card. Placed by
    # hand: matplotlib's own layout draws everything several times.
    side = max(4, 0.35 * size) if is_written else 4
    figure = Figure(figsize=(side, side), dpi=150)
    axes = figure.add_axes((0.24, 0.22, 0.75, 0.75))
    # The diagonal is some hundred times as large as the rest, and would leave it all white.
    axes.imshow(counts.float().log1p().numpy(), cmap="Blues")
    places = counts.nonzero().tolist() if is_written else []
    for (row, column), count in ((tuple(i), counts[tuple(i)]) for i in places):
        dark = counts[row, column].log1p() > counts.max().log1p() / 2
        colour = "white" if dark else "black"
        axes.text(column, row, str(int(count)), ha="center", va="center", color=colour)
    if is_written:
        turned = 45 if max(map(len, classes)) > 1 else 0
        axes.set_xticks(range(len(classes)), classes, rotation=turned)
        axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    return figure


def mistakes_figure(classes: tuple[str, ...], split: ImageDataset, probabilities: Tensor) -> Figure:
    """The mistakes made with the most confidence, the worst first."""
    from matplotlib.figure import Figure

    worst = find_mistakes(split.labels, probabilities)[:MISTAKES]
    across = min(max(len(worst), 2), ACROSS)
    down = max(1, -(-len(worst) // ACROSS))
    # As large as it has pictures.
    figure = Figure(figsize=(1.2 * across, 1.5 * down), dpi=150)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, across)
    axes.set_ylim(down, 0)
    if len(worst) == 0:
        axes.text(across / 2, down / 2, "no mistakes", ha="center")
    for place, index in enumerate(worst.tolist()):
        y, x = divmod(place, ACROSS)
        # The shades of one channel are drawn dark on light; three channels are the colours.
        picture = split.images[index].permute(1, 2, 0).squeeze(2).cpu().numpy()
        axes.imshow(picture, cmap="gray_r", extent=(x + 0.18, x + 0.82, y + 0.98, y + 0.34))
        confidence, answer = probabilities[index].max(dim=0)
        title = f"{classes[split.labels[index]]}\nas {classes[answer]}, {confidence:.0%}"
        axes.text(x + 0.5, y + 0.3, title, ha="center", fontsize=8)
    # imshow sets the limits to those of its picture.
    axes.set_xlim(0, across)
    axes.set_ylim(down, 0)
    return figure


def find_mistakes(labels: Tensor, probabilities: Tensor) -> Tensor:
    """Indices int64 of the wrong answers, the most confident first."""
    confidence, predicted = probabilities.max(dim=1)
    wrong = (predicted != labels).nonzero().flatten()
    # Stable, so that equal confidences come in the same order everywhere.
    return wrong[torch.argsort(confidence[wrong], descending=True, stable=True)]
