"""What the data is: pictures of known datasets, or of your own, held in memory."""

from __future__ import annotations

import dataclasses
import shutil
import string
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy
import torch
from torch import Tensor
from torch.utils.data import Dataset

from shared.data.download import TORCHVISION, check_sums, download
from shared.data.folder import find_classes, is_folder_of_pictures, load_folder
from shared.data.idx import ADVICE, FILES, check_labels, find_files, read_idx_pairs
from shared.data.idx import find_folder as find_idx_folder
from shared.errors import RunError

DIGITS = tuple(string.digits)
CLOTHES = tuple("T-shirt Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag Boot".split())
HIRAGANA = tuple("o ki su tsu na ha ma ya re wo".split())
# Small letters that look like the large ones share a class with them.
CHARACTERS = tuple(string.digits + string.ascii_uppercase + "abdefghnqrt")


@dataclass(frozen=True)
class DatasetInfo:
    """What has to be known of a dataset before it is loaded.

    `mean` and `std` are those of the training pixels, scaled to 0..1. `first_label` is the number
    that the files give to the first class. `shape` is that of a sample that is no picture.
    """

    classes: tuple[str, ...]
    mean: float
    std: float
    channels: int = 1
    first_label: int = 0
    shape: tuple[int, ...] | None = None


DATASETS = {
    # Measured on the 1,257 training images after resizing.
    "digits": DatasetInfo(DIGITS, mean=0.3060, std=0.3250),
    # The figures everybody uses; all can be measured from the training images.
    "mnist": DatasetInfo(DIGITS, mean=0.1307, std=0.3081),
    "fashion-mnist": DatasetInfo(CLOTHES, mean=0.2860, std=0.3530),
    "kmnist": DatasetInfo(HIRAGANA, mean=0.1918, std=0.3483),
    "qmnist": DatasetInfo(DIGITS, mean=0.1307, std=0.3081),
    "emnist-balanced": DatasetInfo(CHARACTERS, mean=0.1751, std=0.3332),
    "emnist-letters": DatasetInfo(
        tuple(string.ascii_lowercase), mean=0.1722, std=0.3309, first_label=1
    ),
    # Of any pictures, as colours: `describe` knows the classes of a folder.
    "folder": DatasetInfo((), mean=0.5, std=0.25, channels=3),
}


class ImageDataset(Dataset[tuple[Tensor, Tensor]]):
    """Pictures in memory, normalised when a batch is taken.

    Args:
        images: uint8 [N, C, H, W].
        labels: int64 [N], each the place of a class.
        mean, std: of the pixels scaled to 0..1.
        classes: their names.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        mean: float,
        std: float,
        classes: tuple[str, ...] = DIGITS,
    ) -> None:
        self.images, self.labels, self.mean, self.std = images, labels, mean, std
        self.classes = classes

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        images, labels = self.__getitems__([index])
        return images[0], labels[0]

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """A batch in one indexing operation: float32 [B, C, H, W] and int64 [B].

        DataLoader calls this in place of `__getitem__` for each sample where it exists. Bit for bit
        what torchvision's ToTensor and Normalize give, about 60 times as fast.
        """
        # By a tensor: indexing with a list takes twice as long.
        places = torch.tensor(indices, device=self.images.device)
        images = self.images.index_select(0, places).float().div_(255)
        return images.sub_(self.mean).div_(self.std), self.labels.index_select(0, places)

    def to(self, device: torch.device) -> ImageDataset:
        """A copy in the memory of the device."""
        images, labels = self.images.to(device), self.labels.to(device)
        return ImageDataset(images, labels, self.mean, self.std, self.classes)


def describe(name: str, data_dir: str | Path) -> DatasetInfo:
    """What is known of a dataset before it is loaded; of a folder, the names of its classes.

    Raises:
        RunError: `name` is folder, and data_dir holds no folders of pictures.
    """
    if name != "folder":
        return DATASETS[name]
    return dataclasses.replace(DATASETS[name], classes=find_classes(Path(data_dir)))


def prepare(name: str, data_dir: str | Path, image_size: int = 28) -> None:
    """Make sure that the files of dataset `name` lie under `data_dir`; download what is missing.
    The pictures of a folder are read, in one process for all.

    Downloads land in a folder of their own beside the target and are moved to it in one step, once
    every sum was checked: a download that was cut short leaves nothing behind. Nothing is put
    beside files that are there already, except beside the datasets of torchvision.

    Raises:
        RunError: the download failed, or data_dir holds something else; the message says what, and
            what to do.
    """
    if name == "folder":
        load_folder(Path(data_dir), image_size)
    if name not in FILES or find_folder(name, data_dir):
        return
    data_dir = Path(data_dir)
    target = data_dir / TORCHVISION[name]
    _refuse_other_files(name, data_dir)
    data_dir.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".download-", dir=data_dir))
    try:
        raw = partial / target.name / "raw"
        download(name, raw)
        read_idx_pairs(name, raw)
        (partial / target.name).rename(target)
    except OSError:
        if not (target.exists() and find_folder(name, data_dir)):  # another process was faster
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _refuse_other_files(name: str, data_dir: Path) -> None:
    """Nobody's files are mended by guesswork, half trusted, or given a download beside them."""
    found = sorted(path.name for path in data_dir.glob("*") if not path.name.startswith("."))
    others = [other for other in found if other not in {*TORCHVISION.values()}]
    if TORCHVISION[name] in found:
        others.insert(0, TORCHVISION[name])
    if not others:
        return
    there = [other for other in FILES if other != name and find_folder(other, data_dir)]
    if there:
        # Three have files of the same names, and the sums of packed ones tell them apart later.
        advice = f"its files are those of --dataset {' or '.join(there)}"
    elif is_folder_of_pictures(data_dir):
        advice = "to train on the pictures in it, give --dataset folder"
    else:
        stems = list(FILES[name].values())
        advice = f"expected {stems[0]}, {stems[1]} and two more (.gz or unpacked)"
    rest = f" and {len(others) - 3} more" if len(others) > 3 else ""
    raise RunError(
        f"--data_dir: {data_dir} holds {', '.join(others[:3])}{rest}, and not a complete {name} "
        f"dataset; {advice}, or a new folder to download into"
    )


def load(name: str, data_dir: str | Path, image_size: int = 28) -> dict[str, ImageDataset]:
    """The splits `train`, `val` and `test` of dataset `name`, all in memory.

    What the data does not divide itself is drawn by a fixed permutation, which depends on the
    dataset and not on the seed of the run: validation takes a twelfth of the training images, which
    leaves 55,000 / 5,000 / 10,000 images of mnist; digits are split into 1,257 / 180 / 360.

    Args:
        image_size: pixels of a side, to which pictures of another size are scaled.

    Raises:
        RunError: a file is missing, damaged or not what its name says; the message names it.
    """
    info = describe(name, data_dir)
    if name == "folder":
        arrays = load_folder(Path(data_dir), image_size)
    elif name == "digits":
        images, labels = _load_digits()
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        parts = dict(zip(("test", "val", "train"), order.split([360, 180, 1257]), strict=True))
        arrays = {split: (images[part], labels[part]) for split, part in parts.items()}
    else:
        arrays = _load_files(name, data_dir)
        images, labels = arrays["train"]
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        part, rest = order.split([len(labels) // 12, len(labels) - len(labels) // 12])
        arrays["val"], arrays["train"] = (images[part], labels[part]), (images[rest], labels[rest])
    splits = {}
    for split in ("train", "val", "test"):
        images, labels = arrays[split]
        splits[split] = ImageDataset(
            scale(images, image_size), labels, info.mean, info.std, info.classes
        )
    return splits


def _load_files(name: str, data_dir: str | Path) -> dict[str, tuple[Tensor, Tensor]]:
    where = find_folder(name, data_dir)
    if where is None:
        raise RunError(f"--data_dir: no {name} files in {Path(data_dir)}")
    check_sums(name, where)
    arrays = read_idx_pairs(name, where)
    info, path = DATASETS[name], (find_files(name, where) or {})["train", "images"]
    check_labels(name, where, arrays, info.first_label, len(info.classes) + info.first_label - 1)
    arrays = {
        split: (images, labels - info.first_label) for split, (images, labels) in arrays.items()
    }
    # A one or an I is high and narrow. Where it lies, rows and columns are exchanged, as in the
    # original EMNIST, which some copies have put right.
    upright = "1" if "1" in info.classes else "i"
    if upright in info.classes and _lies(arrays["train"], info.classes.index(upright)):
        if not name.startswith("emnist"):
            raise RunError(f"{path}: its pictures lie on their sides; {ADVICE}")
        arrays = {
            split: (images.mT.contiguous(), labels) for split, (images, labels) in arrays.items()
        }
    return arrays


def _lies(split: tuple[Tensor, Tensor], label: int) -> bool:
    """Whether the pictures of a class extend further from left to right than from top to bottom."""
    images, labels = split
    mean = images[labels == label][:1000].double().mean(dim=(0, 1))
    place = torch.arange(mean.shape[-1], dtype=mean.dtype)

    def spread(mass: Tensor) -> Tensor:
        centre = (mass * place).sum() / mass.sum()
        return (mass * (place - centre) ** 2).sum()

    # Where there is no such picture, both are NaN, and the answer is no.
    return bool(spread(mean.sum(dim=0)) > 1.2 * spread(mean.sum(dim=1)))


def scale(images: Tensor, size: int) -> Tensor:
    """Pictures uint8 [N, C, H, W] in another size, as they are where they have it."""
    if images.shape[-2:] == (size, size):
        return images
    parts = [
        torch.nn.functional.interpolate(
            part.float(), size=(size, size), mode="bilinear", antialias=True
        )
        for part in images.split(1000)  # each takes four times its memory
    ]
    return torch.cat([part.round_().clamp_(0, 255).to(torch.uint8) for part in parts])


def _load_digits() -> tuple[Tensor, Tensor]:
    """scikit-learn's 1,797 digits, resized once from 8×8 to 28×28: uint8 [N, 1, 28, 28], int64 [N].

    Resized, the network of the larger datasets fits, and its accuracy rises by about a point.
    """
    # The file alone: to import sklearn.datasets takes longer than to train an epoch.
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise RunError("scikit-learn, which holds the digits, is not installed; run make setup")
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    table = torch.from_numpy(numpy.loadtxt(file, delimiter=",", dtype=numpy.uint8))
    small = table[:, :64].reshape(-1, 1, 8, 8).float().mul_(255 / 16)
    large = torch.nn.functional.interpolate(small, size=28, mode="bilinear", align_corners=False)
    return large.round_().to(torch.uint8), table[:, 64].long()


def find_folder(name: str, data_dir: str | Path) -> Path | None:
    """The folder at or below data_dir that holds all four files of a dataset, packed or not; None
    where there is none, and for datasets without such files."""
    return find_idx_folder(name, Path(data_dir)) if name in FILES else None
