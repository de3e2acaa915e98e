"""A file of pictures or labels that is damaged or wrong is named with what is wrong."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.mirror import expect_sums_of, idx
from support.programs import Outcome
from torch import Tensor

from shared.data import (
    load,
)
from shared.data.idx import FILES, read_idx
from shared.errors import RunError

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def idx_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.gz"


def rewrite(folder: Path, name: str, content: bytes) -> None:
    idx_file(folder, name).write_bytes(gzip.compress(content))


def cut(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    path = idx_file(folder, IMAGES)
    path.write_bytes(path.read_bytes()[:-100])


def empty(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    idx_file(folder, IMAGES).write_bytes(b"")


def flip_a_bit(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    content = bytearray(idx_file(folder, IMAGES).read_bytes())
    content[len(content) // 2] ^= 16
    idx_file(folder, IMAGES).write_bytes(content)


def no_gzip(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    idx_file(folder, IMAGES).write_bytes(b"<html>404</html>")


def swap(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    rewrite(folder, IMAGES, idx(arrays[LABELS]))
    rewrite(folder, LABELS, idx(arrays[IMAGES]))


def packed_cut(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    rewrite(folder, IMAGES, idx(arrays[IMAGES])[:-1])


def packed_longer(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    rewrite(folder, IMAGES, idx(arrays[IMAGES]) + b"\0")


def packed_nothing(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    rewrite(folder, IMAGES, b"")


def header_only(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    rewrite(folder, IMAGES, idx(arrays[IMAGES])[:9])


def other_type(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    rewrite(folder, IMAGES, b"\0\0\x0d\x03" + idx(arrays[IMAGES])[4:])


def huge_count(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    rewrite(folder, IMAGES, idx(arrays[IMAGES])[:4] + b"\xff" * 12 + b"\0" * 100)


def other_size(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    rewrite(folder, IMAGES, idx(arrays[IMAGES][:, :27]))


def a_label_less(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    rewrite(folder, LABELS, idx(arrays[LABELS][:-1]))


def label_10(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    rewrite(folder, LABELS, idx(np.append(arrays[LABELS][:-1], 10)))


def no_labels(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    rewrite(folder, IMAGES, idx(arrays[IMAGES][:0]))
    rewrite(folder, LABELS, idx(arrays[LABELS][:0]))


DAMAGES = {
    cut: (IMAGES, "damaged (Compressed file ended before"),
    empty: (IMAGES, "starts with nothing; IDX pictures start with 00000803"),
    flip_a_bit: (IMAGES, "damaged ("),
    no_gzip: (IMAGES, "damaged (Not a gzipped file"),
    swap: (IMAGES, "starts with 00000801; IDX pictures start with 00000803"),
    packed_cut: (IMAGES, "holds 188175 bytes, and its header says 188176"),
    packed_longer: (IMAGES, "holds 188177 bytes, and its header says 188176"),
    packed_nothing: (IMAGES, "starts with nothing"),
    header_only: (IMAGES, "holds 9 bytes, and its header says "),
    other_type: (IMAGES, "starts with 00000d03; IDX pictures start with 00000803"),
    huge_count: (IMAGES, "holds 116 bytes, and its header says "),
    other_size: (IMAGES, "holds pictures of 27×28 pixels; expected 28×28"),
    a_label_less: (LABELS, f"holds 239 labels for 240 pictures in {IMAGES}.gz"),
    label_10: (LABELS, "holds the label 10; expected 0 to 9"),
    no_labels: (LABELS, "holds 0 labels; too few to train on"),
}


@pytest.mark.fault("a damaged or wrong data file", kind="data")
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_wrong_file_is_named_with_what_is_wrong(
    damage: Callable[[Path, dict], None],
    small_mnist: Path,
    small_arrays: dict[str, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    damage(small_mnist, small_arrays)
    # The sums are looked at first: here they fit, as if torchvision knew these very files.
    files = {
        f"{stem}.gz": idx_file(small_mnist, stem).read_bytes() for stem in FILES["mnist"].values()
    }
    expect_sums_of(files, monkeypatch)
    name, problem = DAMAGES[damage]
    with pytest.raises(RunError) as error:
        load("mnist", small_mnist)
    assert str(error.value).startswith(f"{idx_file(small_mnist, name)}: {problem}")
    assert "\n" not in str(error.value)


@pytest.mark.fault("a damaged or wrong data file", kind="data")
@pytest.mark.parametrize("stem", FILES["mnist"].values())
def test_a_file_that_is_not_the_original_is_refused_by_its_sum(
    stem: str, small_mnist: Path
) -> None:
    path = idx_file(small_mnist, stem)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RunError, match="not the original file of mnist") as error:
        load("mnist", small_mnist)
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.fault("a damaged or wrong data file", kind="data")
def test_a_damaged_file_ends_training_in_one_line_and_leaves_no_summary(
    side: str,
    small_mnist: Path,
    command: Callable[..., Outcome],
    one_line: Callable[..., None],
    fault: Any,
) -> None:
    idx_file(small_mnist, TEST_LABELS).write_bytes(b"")
    done = command(
        side, "train", "--dataset", "mnist", "--data_dir", small_mnist, "--accelerator", "cpu"
    )
    assert (done.status, done.out) == (1, "")
    one_line(done.err, idx_file(small_mnist, TEST_LABELS), "MD5 differs")
    fault.sees(done.err)
    assert not list(Path().rglob("*.ckpt"))
    assert not list(Path().rglob("summary.json"))


def test_read_idx_gives_what_was_written() -> None:
    values = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    for path, content in (("a", idx(values)), ("a.gz", gzip.compress(idx(values)))):
        Path(path).write_bytes(content)
        read: Tensor = read_idx(Path(path), dims=3)
        assert read.tolist() == values.tolist()
