"""What the data is: three datasets of small grey pictures, held in memory."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy
import torch
from torch import Tensor
from torch.utils.data import Dataset

from shared.data.download import check_sums, download
from shared.data.idx import find_files, read_idx_pairs
from shared.errors import RunError

DIGITS = tuple("0123456789")
CLOTHES = tuple("T-shirt Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag Boot".split())


@dataclass(frozen=True)
class DatasetInfo:
    """What has to be known of a dataset before it is loaded.

    `mean` and `std` are those of the training pixels, scaled to 0..1. `folder` is the name
    torchvision gives its folder, and of its class; None where nothing is downloaded.
    """

    classes: tuple[str, ...]
    mean: float
    std: float
    folder: str | None = None


DATASETS = {
    # Measured on the 1,257 training images after resizing.
    "digits": DatasetInfo(DIGITS, mean=0.3060, std=0.3250),
    # The figures everybody uses; both can be measured from the training images.
    "mnist": DatasetInfo(DIGITS, mean=0.1307, std=0.3081, folder="MNIST"),
    "fashion-mnist": DatasetInfo(CLOTHES, mean=0.2860, std=0.3530, folder="FashionMNIST"),
}


class ImageDataset(Dataset[tuple[Tensor, Tensor]]):
    """Pictures in memory, normalised when a batch is taken.

    Args:
        images: uint8 [N, 1, 28, 28].
        labels: int64 [N], each from 0 to 9.
        mean, std: of the pixels scaled to 0..1.
    """

    def __init__(self, images: Tensor, labels: Tensor, mean: float, std: float) -> None:
        self.images, self.labels, self.mean, self.std = images, labels, mean, std

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        images, labels = self.__getitems__([index])
        return images[0], labels[0]

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """A batch in one indexing operation: float32 [B, 1, 28, 28] and int64 [B].

        DataLoader calls this in place of `__getitem__` for each sample where it exists. Bit for bit
        what torchvision's ToTensor and Normalize give, about 60 times as fast.
        """
        # By a tensor: indexing with a list takes twice as long.
        places = torch.tensor(indices, device=self.images.device)
        images = self.images.index_select(0, places).float().div_(255)
        return images.sub_(self.mean).div_(self.std), self.labels.index_select(0, places)

    def to(self, device: torch.device) -> ImageDataset:
        """A copy in the memory of the device."""
        return ImageDataset(self.images.to(device), self.labels.to(device), self.mean, self.std)


def prepare(name: str, data_dir: str | Path) -> None:
    """Make sure that the files of dataset `name` lie under `data_dir`; download what is missing.

    Downloads land in a folder of their own beside the target and are moved to it in one step, once
    torchvision has checked every sum: a download that was cut short leaves nothing behind.

    Raises:
        RunError: the download failed; the message says why and what to do.
    """
    info = DATASETS[name]
    if info.folder is None or find_folder(name, data_dir):
        return
    target = Path(data_dir) / info.folder
    if target.exists():
        # Never mend somebody's folder by guesswork, and never trust the half of it that is there.
        raise RunError(f"{target}: not a complete {name} dataset; delete it to download again")
    Path(data_dir).mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".download-", dir=data_dir))
    try:
        download(name, info.folder, partial / info.folder / "raw")
        read_idx_pairs(partial / info.folder / "raw")
        (partial / info.folder).rename(target)
    except OSError:
        if not (target.exists() and find_folder(name, data_dir)):  # another process was faster
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def load(name: str, data_dir: str | Path) -> dict[str, ImageDataset]:
    """The splits `train`, `val` and `test` of dataset `name`, all in memory.

    The validation images are drawn from the training images by a fixed permutation, which depends
    on the dataset and not on the seed of the run: 1,257 / 180 / 360 images of digits, 55,000 /
    5,000 / 10,000 of the others.

    Raises:
        RunError: a file is missing, damaged or not what its name says; the message names it.
    """
    info = DATASETS[name]
    if info.folder is None:
        images, labels = _load_digits()
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        parts = dict(zip(("test", "val", "train"), order.split([360, 180, 1257]), strict=True))
        arrays = {split: (images[part], labels[part]) for split, part in parts.items()}
    else:
        folder = find_folder(name, data_dir)
        if folder is None:
            raise RunError(f"--data_dir: no {name} files in {Path(data_dir)}")
        check_sums(name, info.folder, folder)
        arrays = read_idx_pairs(folder)
        images, labels = arrays["train"]
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        part, rest = order.split([len(labels) // 12, len(labels) - len(labels) // 12])
        arrays["val"], arrays["train"] = (images[part], labels[part]), (images[rest], labels[rest])
    return {
        split: ImageDataset(*arrays[split], info.mean, info.std)
        for split in ("train", "val", "test")
    }


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
    where there is none, and for digits, which have no files."""
    below = DATASETS[name].folder
    folders = (Path(data_dir), Path(data_dir) / below / "raw") if below else ()
    return next((folder for folder in folders if find_files(folder)), None)
