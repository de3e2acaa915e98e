"""What the data is: three datasets of small grey pictures, held in memory, and the order in which
an epoch visits them."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import math
import queue
import shutil
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException, IncompleteRead
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Sampler

from shared.config import RunError

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

FILES = {
    ("train", "images"): "train-images-idx3-ubyte",
    ("train", "labels"): "train-labels-idx1-ubyte",
    ("test", "images"): "t10k-images-idx3-ubyte",
    ("test", "labels"): "t10k-labels-idx1-ubyte",
}

# In so many seconds, a download has to bring so many bytes or be done. A time limit for each read,
# all that urllib has, never ends with a server that sends a byte now and then.
DOWNLOAD_TIMEOUT, DOWNLOAD_LEAST = 30.0, 100_000

# The largest file has 26 MB; what goes on beyond this is not one of them.
DOWNLOAD_MOST = 100_000_000

# Seconds to wait before the mirrors are asked again, where that may help: see `_may_pass`.
DOWNLOAD_RETRIES = (1.0, 4.0)


class ImageDataset(Dataset):
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


def collate(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """`__getitems__` has made the batch already. A named function, since workers pickle it."""
    return batch


class ResumableLoader(DataLoader):
    """A DataLoader whose epoch can be taken up again at any batch.

    The order of an epoch follows from (seed, epoch) alone, so its place is two numbers. Without
    `state_dict` and `load_state_dict`, Lightning would warn that it cannot resume within an epoch.
    """

    batch_idx = 0  # batches of the current epoch handed out so far
    start_batch = 0  # where the next iterator starts

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.batch_idx, self.start_batch = self.start_batch, 0
        self.sampler.start = self.batch_idx * self.batch_size
        # The iterator is made here and not at the first `next`, which would be later than the
        # moment its workers start in a plain DataLoader.
        return self._count(super().__iter__())

    def _count(self, batches: Iterator) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in batches:
            self.batch_idx += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Where the next batch comes from; at the end of an epoch, the start of the next."""
        epoch_done = self.batch_idx == len(self)
        epoch = self.sampler.epoch
        return {
            "epoch": epoch + epoch_done,
            "batch_idx": 0 if epoch_done else self.batch_idx,
            "world_size": self.sampler.num_replicas,
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        # Before the iterator is made: with workers, Lightning 2.6.6 makes it too early to hear of
        # the epoch from `set_epoch` (Lightning-AI/pytorch-lightning#21938).
        self.sampler.set_epoch(state["epoch"])
        self.start_batch = state["batch_idx"]


class ResumableSampler(DistributedSampler):
    """PyTorch's DistributedSampler, whose order is a function of (seed, epoch), from `start` on."""

    start = 0

    def __iter__(self) -> Iterator[int]:
        indices = list(super().__iter__())
        return iter(indices[self.start :])


class ExactSampler(Sampler):
    """Every sample in one of the processes, and in one only, for evaluation.

    DistributedSampler gives all processes as many by handing some samples out twice, and so counts
    them twice: of 9 samples on 2 processes 2 right ones become 2/10 or 3/10.
    """

    def __init__(self, dataset: ImageDataset, num_replicas: int, rank: int) -> None:
        self.indices = range(rank, len(dataset), num_replicas)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)


def evaluation_batch_size(samples: int, batch_size: int, num_replicas: int) -> int:
    """The batch size from `batch_size` up with which all processes have as many batches: in each,
    DistributedDataParallel waits for the others.

    Raises:
        RunError: there are more processes than samples.
    """
    least, most = samples // num_replicas, math.ceil(samples / num_replicas)
    if least == 0:
        raise RunError(
            f"--devices: {num_replicas} processes in all cannot share {samples} images to evaluate"
        )
    while math.ceil(least / batch_size) != math.ceil(most / batch_size):
        batch_size += 1
    return batch_size


def make_loader(
    dataset: ImageDataset,
    batch_size: int,
    *,
    seed: int,
    shuffle: bool,
    num_workers: int = 0,
    device: torch.device | None = None,
    num_replicas: int = 1,
    rank: int = 0,
) -> DataLoader:
    """The loader of one split in one of `num_replicas` processes, the same for both sides.

    It owns its generator: each `iter(DataLoader)` draws a seed for its workers, and drawn from the
    global generator that would change the dropout masks of the steps that follow.

    On a GPU, `device`, the batches are made where they are used. Workers could not do that: with
    them, batches go through pinned memory, from which the GPU copies while it computes.
    """
    on_gpu = device is not None and device.type == "cuda"
    if on_gpu and num_workers == 0:
        dataset = dataset.to(device)
    options = dict(
        batch_size=batch_size,
        num_workers=num_workers,
        pin_memory=on_gpu and num_workers > 0,
        collate_fn=collate,
        generator=torch.Generator().manual_seed(seed),
    )
    if not shuffle:
        options["batch_size"] = evaluation_batch_size(len(dataset), batch_size, num_replicas)
        return DataLoader(dataset, sampler=ExactSampler(dataset, num_replicas, rank), **options)
    sampler = ResumableSampler(
        dataset, num_replicas=num_replicas, rank=rank, shuffle=True, seed=seed
    )
    return ResumableLoader(dataset, sampler=sampler, **options)


def prepare(name: str, data_dir: str | Path) -> None:
    """Make sure that the files of dataset `name` lie under `data_dir`; download what is missing.

    Downloads land in a folder of their own beside the target and are moved to it in one step, once
    torchvision has checked every sum: a download that was cut short leaves nothing behind.

    Raises:
        RunError: the download failed; the message says why and what to do.
    """
    info = DATASETS[name]
    if info.folder is None or _find(name, data_dir):
        return
    target = Path(data_dir) / info.folder
    if target.exists():
        # Never mend somebody's folder by guesswork, and never trust the half of it that is there.
        raise RunError(f"{target}: not a complete {name} dataset; delete it to download again")
    Path(data_dir).mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".download-", dir=data_dir))
    try:
        _download(name, partial / info.folder / "raw")
        read_idx_pairs(partial / info.folder / "raw")
        (partial / info.folder).rename(target)
    except OSError:
        if not (target.exists() and _find(name, data_dir)):  # another process was faster
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _download(name: str, folder: Path) -> None:
    """Fetch the four files, each from the first of torchvision's mirrors that has it whole.

    torchvision's own loop over the mirrors ends at the first that stands still or hangs up, and
    waits for ever for one that drips.
    """
    import torchvision.datasets

    dataset = getattr(torchvision.datasets, DATASETS[name].folder)
    folder.mkdir(parents=True)
    for filename, md5 in dataset.resources:
        urls = [mirror + filename for mirror in dataset.mirrors]
        (folder / filename).write_bytes(_from_first(urls, md5, name))


def _from_first(urls: list[str], md5: str, name: str) -> bytes:
    """The file with this sum, from the first URL that has it. All are asked again, after a while,
    but for those that will not answer otherwise."""
    problems = {}
    for seconds in (0, *DOWNLOAD_RETRIES):
        time.sleep(seconds)
        for url in urls:
            try:
                content = _fetch(url)
                # Against accidents: it is the sum that torchvision holds.
                if hashlib.md5(content, usedforsecurity=False).hexdigest() == md5:
                    return content
                problems[url] = ValueError("wrong checksum (MD5)")
            except (OSError, HTTPException) as error:
                problems[url] = error
        urls = [url for url in urls if _may_pass(problems[url])]
        if not urls:
            break
    reasons = "; ".join(f"{url}: {_one_line(error)}" for url, error in problems.items())
    raise RunError(
        f"--dataset {name}: the download failed ({reasons}); try again, or "
        f"give --data_dir a folder with the four original .gz files"
    )


def _may_pass(error: Exception) -> bool:
    """Whether to ask again: the server has an error of its own (5xx), or the connection was refused
    or cut. Not for a file that is not there or is another, nor for a server that was waited for."""
    if isinstance(error, HTTPError):
        return error.code >= 500
    return isinstance(getattr(error, "reason", error), (ConnectionError, IncompleteRead))


def _fetch(url: str) -> bytes:
    """Read a file from a server, in a thread that is left to itself when that takes too long.

    Raises:
        TimeoutError: the server is too slow.
        OSError, HTTPException: the server answered with an error, cut the connection or was not
            reached.
    """
    from tqdm import tqdm

    # Limited: of a file that never ends, no more is read than was taken out.
    arrived: queue.Queue[int | bytes | Exception | None] = queue.Queue(maxsize=64)

    def read() -> None:
        try:
            # The rule fears schemes like file:, and the mirrors are those of torchvision.
            request = Request(url, headers={"User-Agent": "pytorch/vision"})  # noqa: S310
            with urlopen(request, timeout=2 * DOWNLOAD_TIMEOUT) as answer:  # noqa: S310
                arrived.put(answer.length)
                while chunk := answer.read1(1 << 16):
                    arrived.put(chunk)
            arrived.put(b"")
        except Exception as error:
            arrived.put(error)

    threading.Thread(target=read, daemon=True).start()
    content, size, part = bytearray(), None, None
    deadline, least = time.monotonic() + DOWNLOAD_TIMEOUT, DOWNLOAD_LEAST
    bar = tqdm(desc=url, unit="B", unit_scale=True, disable=not sys.stderr.isatty())
    with bar:
        while part != b"":
            with contextlib.suppress(queue.Empty):
                part = arrived.get(timeout=max(0.0, deadline - time.monotonic()))
                if isinstance(part, Exception):
                    raise part
                if isinstance(part, bytes):
                    content += part
                    bar.update(len(part))
                else:
                    size = bar.total = part
            if time.monotonic() >= deadline and part != b"":
                if len(content) < least:
                    raise TimeoutError(
                        f"too slow: {len(content)} bytes, fewer than {DOWNLOAD_LEAST} of them in "
                        f"the last {DOWNLOAD_TIMEOUT:g} s"
                    )
                deadline, least = deadline + DOWNLOAD_TIMEOUT, len(content) + DOWNLOAD_LEAST
            if len(content) > DOWNLOAD_MOST:
                raise OSError(f"more than {DOWNLOAD_MOST} bytes, and no end")
    if size is not None and len(content) < size:
        raise ConnectionError(f"cut off after {len(content)} of {size} bytes")
    return bytes(content)


def load(name: str, data_dir: str | Path) -> dict[str, ImageDataset]:
    """The splits `train`, `val` and `test` of dataset `name`, all in memory.

    The validation images are drawn from the training images by a fixed permutation, which depends
    on the dataset and not on the seed of the run: 1,257 / 180 / 360 images of digits, 55,000 /
    5,000 / 10,000 of the others.

    Raises:
        RunError: a file is missing, damaged or not what its name says; the message names it.
    """
    if name == "digits":
        images, labels = _load_digits()
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        parts = dict(zip(("test", "val", "train"), order.split([360, 180, 1257]), strict=True))
        arrays = {split: (images[part], labels[part]) for split, part in parts.items()}
    else:
        folder = _find(name, data_dir)
        if folder is None:
            raise RunError(f"--data_dir: no {name} files in {Path(data_dir)}")
        _check_sums(name, folder)
        arrays = read_idx_pairs(folder)
        images, labels = arrays["train"]
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        part, rest = order.split([len(labels) // 12, len(labels) - len(labels) // 12])
        arrays["val"], arrays["train"] = (images[part], labels[part]), (images[rest], labels[rest])
    info = DATASETS[name]
    return {
        split: ImageDataset(*arrays[split], info.mean, info.std)
        for split in ("train", "val", "test")
    }


def _load_digits() -> tuple[Tensor, Tensor]:
    """scikit-learn's 1,797 digits, resized once from 8×8 to 28×28: uint8 [N, 1, 28, 28], int64 [N].

    Resized, the network of the larger datasets fits, and its accuracy rises by about a point.
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    small = torch.from_numpy(data.images).float().mul_(255 / 16).unsqueeze(1)
    large = torch.nn.functional.interpolate(small, size=28, mode="bilinear", align_corners=False)
    return large.round_().to(torch.uint8), torch.from_numpy(data.target).long()


def _find(name: str, data_dir: str | Path) -> Path | None:
    """The folder at or below data_dir that holds all four files of the dataset, packed or not."""
    for folder in (Path(data_dir), Path(data_dir) / DATASETS[name].folder / "raw"):
        if all(_file(folder, stem) for stem in FILES.values()):
            return folder
    return None


def _file(folder: Path, stem: str) -> Path | None:
    """The packed file where there is one: its checksum is known."""
    return next((p for p in (folder / f"{stem}.gz", folder / stem) if p.is_file()), None)


def _check_sums(name: str, folder: Path) -> None:
    """Compare the .gz files with the sums torchvision holds: MNIST given as Fashion-MNIST, whose
    files have the same names and shapes, would otherwise train without a word."""
    import torchvision.datasets
    from torchvision.datasets.utils import check_md5

    for filename, md5 in getattr(torchvision.datasets, DATASETS[name].folder).resources:
        path = folder / filename
        if path.is_file() and not check_md5(str(path), md5):
            raise RunError(
                f"{path}: not the original file of {name} (MD5 differs); delete it and run again, "
                f"or give --data_dir another folder"
            )


def read_idx_pairs(folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """The images and labels of `train` and `test`, checked against each other.

    Returns:
        For each split, uint8 [N, 1, 28, 28] and int64 [N].

    Raises:
        RunError: a file is damaged, swapped, or does not fit its partner.
    """
    splits = {}
    for split in ("train", "test"):
        images_path, labels_path = (_file(folder, FILES[split, k]) for k in ("images", "labels"))
        images, labels = read_idx(images_path, dims=3), read_idx(labels_path, dims=1)
        if images.shape[1:] != (28, 28):
            size = "×".join(map(str, images.shape[1:]))
            raise RunError(f"{images_path}: holds pictures of {size} pixels; expected 28×28")
        if len(images) != len(labels):
            raise RunError(
                f"{labels_path}: holds {len(labels)} labels for {len(images)} pictures in "
                f"{images_path.name}"
            )
        if len(labels) < 24:
            raise RunError(f"{labels_path}: holds {len(labels)} labels; too few to train on")
        if labels.max() > 9:
            raise RunError(f"{labels_path}: holds the label {labels.max()}; expected 0 to 9")
        splits[split] = images.unsqueeze(1), labels.long()
    return splits


def read_idx(path: Path, dims: int) -> Tensor:
    """Read a file of unsigned bytes in the IDX format of the MNIST site, packed with gzip or not.

    Format: two zero bytes, the type (8, unsigned byte), the number of dimensions, each dimension as
    a big-endian 32-bit number, then the values.

    Raises:
        RunError: the file does not hold exactly that.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            data = file.read()
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise RunError(f"{path}: damaged ({_one_line(error)}); delete it and run again") from None
    magic = bytes([0, 0, 8, dims])
    if data[:4] != magic:
        kind, start = "pictures" if dims == 3 else "labels", data[:4].hex() or "nothing"
        raise RunError(f"{path}: starts with {start}; IDX {kind} start with {magic.hex()}")
    header = 4 + 4 * dims
    shape = [int.from_bytes(data[i : i + 4], "big") for i in range(4, header, 4)]
    count = torch.Size(shape).numel()
    if len(data) != header + count:
        raise RunError(
            f"{path}: holds {len(data)} bytes, and its header says {header + count}; delete it and "
            f"run again"
        )
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)[header:].reshape(shape)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
