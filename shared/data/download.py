"""Fetching the files of a dataset from the mirrors that torchvision names, with torchvision's sums.

torchvision's own loop over the mirrors ends at the first that stands still or hangs up, and waits
for ever for one that drips.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import shutil
import sys
import threading
import time
import zipfile
from http.client import HTTPException, IncompleteRead
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from shared.data.idx import ADVICE, FILES, find_files
from shared.errors import RunError, in_one_line

# The folder that torchvision gives each dataset, which is the name of its class, too.
TORCHVISION = {
    "mnist": "MNIST",
    "fashion-mnist": "FashionMNIST",
    "kmnist": "KMNIST",
    "qmnist": "QMNIST",
    "emnist-balanced": "EMNIST",
    "emnist-letters": "EMNIST",
}

# In so many seconds, a download has to bring so many bytes or be done. A time limit for each read,
# all that urllib has, never ends with a server that sends a byte now and then.
DOWNLOAD_TIMEOUT, DOWNLOAD_LEAST = 30.0, 100_000

# The largest file, EMNIST's archive, has 562 MB; one that is longer than this is none of them.
DOWNLOAD_MOST = 700_000_000

# Seconds to wait before the mirrors are asked again, where that may help: see `_may_pass`.
DOWNLOAD_RETRIES = (1.0, 4.0)


class Source(NamedTuple):
    """A file as torchvision knows it: where it is to be had, and its MD5 sum."""

    filename: str
    urls: list[str]
    md5: str


def sources(name: str) -> list[Source]:
    """What torchvision downloads for a dataset."""
    import torchvision.datasets as known

    if name.startswith("emnist"):  # one archive with all its variants
        return [Source("gzip.zip", [known.EMNIST.url], known.EMNIST.md5)]
    if name == "qmnist":
        listed = [*known.QMNIST.resources["train"], *known.QMNIST.resources["test"]]
        return [Source(url.rpartition("/")[2], [url], md5) for url, md5 in listed]
    dataset = getattr(known, TORCHVISION[name])
    return [
        Source(filename, [mirror + filename for mirror in dataset.mirrors], md5)
        for filename, md5 in dataset.resources
    ]


def download(name: str, folder: Path) -> None:
    """Fetch the files of a dataset into a new folder, each from the first mirror that has it whole.

    Args:
        name: of the dataset, as `--dataset` takes it.

    Raises:
        RunError: no mirror has a file; the message says why and what to do.
    """
    folder.mkdir(parents=True)
    for filename, urls, md5 in sources(name):
        (folder / filename).write_bytes(_from_first(urls, md5, name))
        if filename.endswith(".zip"):
            _unpack(folder / filename)


def _unpack(archive: Path) -> None:
    """Take out of EMNIST's archive the files of the two variants that are known here, and drop the
    rest of its 560 MB."""
    stems = {stem for name in FILES if name.startswith("emnist") for stem in FILES[name].values()}
    with zipfile.ZipFile(archive) as opened:
        for part in opened.infolist():
            filename = part.filename.rpartition("/")[2]
            if filename.removesuffix(".gz") in stems:
                with opened.open(part) as packed, open(archive.parent / filename, "wb") as file:
                    shutil.copyfileobj(packed, file)
    archive.unlink()


def check_sums(name: str, folder: Path) -> None:
    """Compare the .gz files with the sums torchvision holds: MNIST given as Fashion-MNIST, whose
    files have the same names and shapes, would otherwise train without a word.

    Raises:
        RunError: a file is not the original one.
    """
    from torchvision.datasets.utils import check_md5

    files = find_files(name, folder) or {}
    found = {path.name.replace(".idx", "-idx"): path for path in files.values()}
    for filename, _, md5 in sources(name):
        path = found.get(filename)
        if path is not None and not check_md5(str(path), md5):
            raise RunError(f"{path}: not the original file of {name} (MD5 differs); {ADVICE}")


def _from_first(urls: list[str], md5: str, name: str) -> bytes:
    """The file with this sum, from the first URL that has it. All are asked again, after a while,
    but for those that will not answer otherwise."""
    problems: dict[str, Exception] = {}
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
    reasons = "; ".join(f"{url}: {in_one_line(error)}" for url, error in problems.items())
    raise RunError(
        f"--dataset {name}: the download failed ({reasons}); try again, or "
        f"give --data_dir a folder with the four original .gz files"
    )


def _may_pass(error: Exception) -> bool:
    """Whether to ask again: the server has an error of its own (5xx), or the connection was refused
    or cut. A file that is not there or is another, and a server that was too slow, stay so."""
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
