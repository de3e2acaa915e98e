"""What somebody gives is used or refused in one line: files of other mirrors and of other datasets,
and folders with something else in them, beside which nothing is ever downloaded."""

from __future__ import annotations

import gzip
import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.mirror import Mirror, expect_sums_of, idx, write_files

from shared.data import load, prepare
from shared.data.idx import FILES
from shared.errors import RunError

SPLITS = {"train": 240, "test": 60}


def unpacked(files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name.removesuffix(".gz"): gzip.decompress(content) for name, content in files.items()}


def dotted(files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name.replace("-idx", ".idx"): content for name, content in files.items()}


LAYOUTS: dict[str, Callable[[Mapping[str, bytes]], dict[str, bytes]]] = {
    "dotted": lambda files: dotted(unpacked(files)),
    "dotted and packed": dotted,
    "a nested folder": lambda files: {f"archive/mnist/{n}": c for n, c in files.items()},
    "a folder for each file": lambda files: {
        f"{name}/{name}": content for name, content in unpacked(files).items()
    },
    "a folder for each dotted file": lambda files: {
        f"{name}/{name}": content for name, content in dotted(unpacked(files)).items()
    },
    "beside another dataset's": lambda files: {
        **{f"FashionMNIST/raw/{name}": b"others" for name in files},
        **{f"MNIST/raw/{name}": content for name, content in files.items()},
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_files_of_other_mirrors_are_used_as_they_are(
    layout: str,
    small_files: dict[str, bytes],
    small_arrays: dict[str, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    no_network: None,
) -> None:
    expect_sums_of(small_files, monkeypatch)
    for name, content in LAYOUTS[layout](small_files).items():
        path = Path("given", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    before = sorted(Path("given").rglob("*"))
    prepare("mnist", "given")
    test = load("mnist", "given")["test"]
    images = torch.from_numpy(small_arrays["t10k-images-idx3-ubyte"])
    assert torch.equal(test.images[:, 0], images)
    assert sorted(Path("given").rglob("*")) == before


def half(folder: Path, files: Mapping[str, bytes]) -> str:
    write_files(folder, dict(list(files.items())[:2]))
    return "train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, and not a complete mnist"


def of_qmnist(folder: Path, files: Mapping[str, bytes]) -> str:
    write_files(folder, {f"{stem}.gz": b"" for stem in FILES["qmnist"].values()})
    return "its files are those of --dataset qmnist"


def npz(folder: Path, files: Mapping[str, bytes]) -> str:
    write_files(folder, {"mnist.npz": b"PK"})
    return "holds mnist.npz, and not a complete mnist dataset; expected train-images-idx3-ubyte"


def csv(folder: Path, files: Mapping[str, bytes]) -> str:
    write_files(folder, {f"mnist_{name}.csv": b"1,2" for name in "abcde"})
    return "holds mnist_a.csv, mnist_b.csv, mnist_c.csv and 2 more"


def pngs(folder: Path, files: Mapping[str, bytes]) -> str:
    for label in "01":
        (folder / label).mkdir(parents=True)
        Image.new("L", (28, 28)).save(folder / label / "1.png")
    return "to train on the pictures in it, give --dataset folder"


@pytest.mark.fault("a folder with something else in it", kind="data")
@pytest.mark.parametrize("given", [half, of_qmnist, npz, csv, pngs], ids=lambda g: g.__name__)
def test_a_folder_with_other_files_gets_no_download_beside_them(
    given: Callable[[Path, Mapping[str, bytes]], str],
    mirror: Mirror,
    small_files: dict[str, bytes],
    fault: Any,
) -> None:
    problem = given(Path("given"), small_files)
    before = sorted(Path("given").rglob("*"))
    with pytest.raises(RunError) as error:
        prepare("mnist", "given")
    assert problem in str(error.value)
    assert "or a new folder to download into" in str(error.value)
    assert "delete" not in str(error.value) and "\n" not in str(error.value)
    assert sorted(Path("given").rglob("*")) == before
    assert mirror.requests == []
    fault.sees(f"error: {error.value}")


# More that torchvision has


def small(name: str, arrays: Mapping[str, np.ndarray], *, lying: bool = False) -> dict[str, bytes]:
    """The small digits as the four files of a dataset; upright ones where 1 or I is drawn."""
    files = {}
    for (_, kind), stem, values in zip(
        FILES[name], FILES[name].values(), arrays.values(), strict=True
    ):
        if kind == "images" and name.startswith("emnist"):
            values = values.copy()
            values[:] = 0
            values[:, 4:24, 12:16] = 255  # a stroke from top to bottom
            values[:, 4:8, 8:12] = 200
            values = values.swapaxes(1, 2) if lying else values
        if kind == "labels" and name == "qmnist":
            table = np.zeros((len(values), 8), dtype=">i4")
            table[:, 0], table[:, 1] = values, 70_000
            head = bytes([0, 0, 12, 2]) + len(values).to_bytes(4, "big") + (8).to_bytes(4, "big")
            files[f"{stem}.gz"] = gzip.compress(head + table.tobytes(), mtime=0)
            continue
        if kind == "labels" and name == "emnist-letters":
            values = values + 1
        files[f"{stem}.gz"] = gzip.compress(idx(values), mtime=0)
    return files


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.fixture
def emnist(
    mirrors: Callable[[], Mirror],
    small_arrays: dict[str, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Mirror]:
    import torchvision.datasets

    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("gzip/emnist-digits-train-images-idx3-ubyte.gz", b"not asked for")
        for name in ("emnist-balanced", "emnist-letters"):
            for filename, content in small(name, small_arrays, lying=True).items():
                packed.writestr(f"gzip/{filename}", content)
    mirror = mirrors()
    mirror.files = {"gzip.zip": archive.getvalue()}
    monkeypatch.setattr(torchvision.datasets.EMNIST, "url", f"{mirror.url}gzip.zip")
    monkeypatch.setattr(torchvision.datasets.EMNIST, "md5", md5(archive.getvalue()))
    yield mirror


def test_emnist_is_downloaded_once_for_both_and_turned_the_right_way_up(
    emnist: Mirror, small_arrays: dict[str, np.ndarray]
) -> None:
    labels = torch.from_numpy(small_arrays["t10k-labels-idx1-ubyte"]).long()
    for name, classes in (("emnist-balanced", 47), ("emnist-letters", 26)):
        prepare(name, "data")
        test = load(name, "data")["test"]
        assert len(test.classes) == classes
        assert torch.equal(test.labels, labels)
        assert bool((test.images[:, 0, 4:24, 12:16] == 255).all())
    assert emnist.requests == ["gzip.zip"]
    assert len(list(Path("data/EMNIST/raw").iterdir())) == 8


@pytest.mark.parametrize("name", ["emnist-balanced", "emnist-letters"])
@pytest.mark.parametrize("lying", [True, False])
def test_emnist_brought_unpacked_is_upright_whichever_way_it_lies(
    name: str, lying: bool, small_arrays: dict[str, np.ndarray], no_network: None
) -> None:
    write_files(Path("given"), unpacked(small(name, small_arrays, lying=lying)))
    prepare(name, "given")
    assert bool((load(name, "given")["train"].images[:, 0, 4:24, 12:16] == 255).all())


def test_a_transposed_copy_of_mnist_is_refused(
    small_files: dict[str, bytes], small_arrays: dict[str, np.ndarray], no_network: None
) -> None:
    name = "train-images-idx3-ubyte"
    files = {**unpacked(small_files), name: idx(small_arrays[name].swapaxes(1, 2))}
    write_files(Path("given"), files)
    with pytest.raises(RunError, match=f"{name}: its pictures lie on their sides"):
        load("mnist", "given")


def test_kmnist_and_qmnist_come_with_torchvisions_sums(
    mirrors: Callable[[], Mirror],
    small_arrays: dict[str, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torchvision.datasets as known

    for name in ("kmnist", "qmnist"):
        mirror = mirrors()
        files = small(name, small_arrays)
        mirror.files = files
        sums = [(filename, md5(content)) for filename, content in files.items()]
        if name == "kmnist":
            monkeypatch.setattr(known.KMNIST, "mirrors", [mirror.url])
            monkeypatch.setattr(known.KMNIST, "resources", sums)
        else:
            listed = [(mirror.url + filename, sum) for filename, sum in sums]
            resources = {"train": listed[:2], "test": listed[2:]}
            monkeypatch.setattr(known.QMNIST, "resources", resources)
        prepare(name, "data")
        test = load(name, "data")["test"]
        images = torch.from_numpy(small_arrays["t10k-images-idx3-ubyte"])
        assert torch.equal(test.images[:, 0], images)
        labels = torch.from_numpy(small_arrays["t10k-labels-idx1-ubyte"]).long()
        assert torch.equal(test.labels, labels)
        path = next(Path("data").rglob(next(iter(files))))
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(RunError, match=f"not the original file of {name}"):
            load(name, "data")
