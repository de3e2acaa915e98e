"""The generated parts of the READMEs: what stands in them, and in which file."""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import re
import statistics
from pathlib import Path
from typing import Any

import yaml

from shared.bench.blocks import bench_blocks
from shared.bench.machine import describe_machine
from shared.bench.results import FOLDER, read_bench, read_peers
from shared.compare.source.concerns import CONCERNS, concerns, total
from shared.compare.source.lines import APART, LIGHTNING, RAW, file_totals, files
from shared.docs.loops import loops_table
from shared.files import RUNS, SIDES, write_atomically
from shared.mistakes.catalogue import GALLERY, VERDICTS, mistakes, twins
from shared.processes import ROOT
from shared.reporting.markdown import table
from shared.summary import print_summary

MEASURED = ROOT / "shared" / "bench" / "measured"


# Folders whose README has generated blocks, in English and, beside it, in Chinese.
FOLDERS = (
    ROOT,
    ROOT / "shared" / "bench",
    ROOT / "shared" / "compare",
    ROOT / "shared" / "mistakes",
)
ENGLISH, CHINESE = "README.md", "README.zh-TW.md"


def write_anew(blocks: dict[str, str]) -> None:
    """Write each block into the README that has a place for it, in both languages.

    Raises:
        ValueError: a block has no place, or more than one.
    """
    texts = {folder: (folder / ENGLISH).read_text(encoding="utf-8") for folder in FOLDERS}
    for name in blocks:
        homes = [folder for folder, text in texts.items() if name in blocks_of(text)]
        if len(homes) != 1:
            raise ValueError(f"{len(homes)} READMEs have a block {name}; expected one")
    for folder, text in texts.items():
        own = {name: blocks[name] for name in blocks_of(text) if name in blocks}
        english = generate(text, own)
        write_atomically(folder / ENGLISH, english)
        # All of the English blocks, not only the new ones: their Chinese words may be new.
        in_english = blocks_of(english)
        translated = {name: in_chinese(content) for name, content in in_english.items()}
        measured = from_bench(code="zh")
        translated |= {name: measured[name] for name in in_english if name in measured}
        chinese = (folder / CHINESE).read_text(encoding="utf-8")
        write_atomically(folder / CHINESE, generate(chinese, translated))


def generate(text: str, blocks: dict[str, str]) -> str:
    """Put each block's content between its two marks.

    Raises:
        ValueError: a block is missing, or stands there twice.
    """
    for name, content in blocks.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        pattern = re.compile(rf"{begin}(?:.*?\n)?{end}", re.S)
        if (count := len(pattern.findall(text))) != 1:
            raise ValueError(f"a README has {count} blocks {name}; expected one")
        before, after = pattern.split(text)
        text = f"{before}{begin}{content}\n{end}{after}"
    return text


def blocks_of(text: str) -> dict[str, str]:
    """The blocks of a README by name."""
    return dict(re.findall(r"<!-- ([a-z]+) -->\n(.*?)\n<!-- /\1 -->", text, re.S))


# What is said of the files that only one side has.
ONE_SIDED = {
    "raw": "an argument or a callback for each",
    "lightning": "what Lightning leaves to you",
}


def from_source() -> dict[str, str]:
    """The blocks that follow from the code alone."""
    return {
        "loops": loops_table(),
        "files": file_table(),
        "concerns": concern_table(),
    }


def file_table() -> str:
    """A row for each file of both sides that teaches something, one for those of either side alone,
    one for what only the other side's format asks for, and the totals."""
    shown = [file for file in files() if file.name != "__main__.py"]
    rows = [
        (f"`{file.name}`", str(file.raw), str(file.lightning), "")
        for file in shown
        if file.raw is not None and file.lightning is not None
    ]
    for side, words in ONE_SIDED.items():
        alone = [
            file
            for file in shown
            if file.name not in APART and (file.lightning if side == "raw" else file.raw) is None
        ]
        lines = str(sum((file.raw or 0) + (file.lightning or 0) for file in alone))
        names = ", ".join(f"`{file.name}`" for file in alone)
        cells = (lines, "–") if side == "raw" else ("–", lines)
        rows += [(names, *cells, words)] if alone else []
    for file in shown:
        if file.name == "lightning_format.py":
            words = "only for Lightning's checkpoint format, in no total"
            rows.append((f"`{file.name}`", str(file.raw), "–", words))
    raw_total, lightning_total = file_totals()
    name = "all but `minimal.py` and `basic.py`"
    rows.append((name, str(raw_total), str(lightning_total), "a training program each"))
    return table(("file", "raw_pytorch", "lightning", ""), rows, "lrrl")


def concern_table() -> str:
    """One row for each tag: where it is done by hand, what does it in Lightning, and the lines."""
    raw, lightning = concerns(RAW), concerns(LIGHTNING)
    own = {file.name for file in files() if file.lightning is None}
    rows = []
    for tag in CONCERNS:
        # A file of its own says it all; elsewhere, the places in the loop come first.
        places = sorted(
            (place for place in raw[tag] if place.file not in APART),
            key=lambda p: (p.file != "train.py", p.file, min(p.lines)),
        )
        names = [f"`{p.file}`" for p in places if p.file in own]
        names += [f"`{p.file}:{min(p.lines)}`" for p in places if p.file not in own]
        shown = ", ".join(list(dict.fromkeys(names))[:3]) + (", …" if len(set(names)) > 3 else "")
        # What one tells the Trainer says more than a class of one's own.
        order = {"train.py": 0, "trainer.py": 1}
        theirs = sorted(
            (place for place in lightning[tag] if place.file not in APART),
            key=lambda p: (order.get(p.file, 2), p.text.endswith(":"), p.file),
        )
        text = theirs[0].text
        expression = f"`{text if len(text) <= 64 else text[:61] + '...'}`"
        lines = str(total(raw[tag])), str(total(lightning[tag]))
        rows.append((f"`[{tag}]`", shown, lines[0], expression, lines[1]))
    return table(("concern", "by hand", "lines", "with Lightning", "lines"), rows, "llrlr")


SEEDS = "mean of five seeds (least)"


def measured() -> dict[str, str]:
    """The blocks that come from runs, as far as there are any."""
    blocks = {}
    summaries = [summary for side in SIDES if (summary := newest_summary(side)) is not None]
    if len(summaries) == len(SIDES):
        raw, lightning = (closing_lines(summary).splitlines() for summary in summaries)
        # The first run of all knows of no other.
        lines = ["```text", "$ make raw", *raw[:8], "$ make lightning | tail -n 4", *lightning[-4:]]
        blocks["output"] = "\n".join([*lines, "```"])
    paths = [RUNS / "accuracy" / f"{name}.json" for name in ("digits", "mnist")]
    if all(path.is_file() for path in paths):
        blocks["accuracy"] = accuracy_table([json.loads(path.read_text()) for path in paths])
    path = RUNS / "mistakes" / "mistakes.json"
    if path.is_file():
        blocks["mistakes"] = mistake_table(json.loads(path.read_text())["rows"])
    return blocks


def accuracy_table(results: list[dict[str, Any]]) -> str:
    """A row for each dataset, from what `make accuracy` has left."""
    columns = [f"{SEEDS}, {side}" for side in SIDES]
    rows = []
    for result in results:
        row = [result["dataset"], str(result["epochs"])]
        for side in SIDES:
            runs = [run for run in result["runs"] if run["implementation"] == side]
            accuracies = [run["test_accuracy"] for run in runs]
            row.append(f"{statistics.mean(accuracies):.2%} ({min(accuracies):.2%})")
        rows.append(row)
    return table(["dataset", "epochs", *columns], rows, "lrrr")


def from_bench(folder: Path = MEASURED, code: str = "en") -> dict[str, str]:
    """The blocks that follow from the files of a bench, in a language; none where there is no such
    file."""
    result = read_bench(folder / "bench.json")
    if result is None:
        return {}
    return bench_blocks(result, read_peers(folder / "peers.json"), code)


def keep_bench() -> None:
    """Take over the newest bench, if it was a whole one with MNIST, and the newest times of the
    programs of others."""
    bench = read_bench(FOLDER / "bench.json")
    names = ["bench.json"] if bench is not None and bench["settings"]["data_dir"] else []
    if read_peers(FOLDER / "peers.json") is not None:
        names.append("peers.json")
    for name in names:
        MEASURED.mkdir(exist_ok=True)
        write_atomically(MEASURED / name, (FOLDER / name).read_text(encoding="utf-8"))


def keep_gallery() -> None:
    """Take over the newest whole gallery, its numbers short, with its machine and date."""
    path = RUNS / "mistakes" / "mistakes.json"
    rows = json.loads(path.read_text())["rows"] if path.is_file() else []
    if len(rows) != len(mistakes()) + len(twins()):
        return
    for row in rows:
        for outcome in (row["right"], row["wrong"]):
            outcome["curves"] = {
                tag: [float(f"{value:.4g}") for value in curve]
                for tag, curve in outcome["curves"].items()
            }
    date = datetime.date.fromtimestamp(path.stat().st_mtime).isoformat()
    content = {"machine": describe_machine(), "date": date, "rows": rows}
    write_atomically(GALLERY, json.dumps(content, ensure_ascii=False) + "\n")


def mistake_table(rows: list[dict[str, Any]]) -> str:
    """One row for each verdict on a mistake: how many there are, and which."""
    cells = []
    for verdict in VERDICTS:
        # Some are made on both sides.
        names = dict.fromkeys(row["mistake"] for row in rows if row["verdict"] == verdict)
        cells.append((verdict, str(len(names)), "; ".join(names)))
    named = sum(row["expected"] == row["found"] for row in rows)
    right = f"{named} of {len(rows)}"
    cells.append(("named by the tool", right, "at the right step, with the cause"))
    return table(("with Lightning", "", "mistakes of the gallery"), cells, "lrl")


def in_chinese(block: str) -> str:
    """The same block with the words of its tables in Chinese; what has no translation stays."""
    known = yaml.safe_load(Path(__file__).with_name("readme.yaml").read_text(encoding="utf-8"))
    known |= {mistake.name: mistake.shown["zh"] for mistake in mistakes()}

    def cell(text: str) -> str:
        if re.fullmatch(r" `[^`]*` ", text):  # what a program prints, in English
            return text
        parts = [known.get(part, part) for part in text.strip().split("; ")]
        translated = re.sub(r"^(\d+) of (\d+)$", r"\1 / \2", known["; "].join(parts))
        return text.replace(text.strip(), translated) if text.strip() else text

    def row(line: str) -> str:
        is_table = line.startswith("|")
        return "|".join(map(cell, re.split(r"(?<!\\)\|", line))) if is_table else line

    return "\n".join(map(row, block.split("\n")))


def newest_summary(side: str) -> dict[str, Any] | None:
    paths = list((RUNS / side / "digits").glob("version_*/summary.json"))
    if not paths:
        return None
    return json.loads(max(paths, key=lambda path: path.stat().st_mtime).read_text())


def closing_lines(summary: dict[str, Any]) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        print_summary(summary)
    return out.getvalue()
