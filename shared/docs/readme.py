"""The generated parts of both READMEs: python -m shared.docs.readme

What follows from the source is always written anew. What was measured comes from the newest runs
below runs/, and stays as it is where there are none. Of a bench, the whole file is kept beside this
one in measured/, so that every number in the README can be worked out again.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import statistics
from pathlib import Path
from typing import Any

import yaml

from shared.compare.page.words import mistakes, words
from shared.compare.source.lines import LIGHTNING, RAW, ROOT, concerns, files, total
from shared.docs import faults
from shared.files import RUNS, SIDES, write_atomically
from shared.summary import print_summary

MEASURED = ROOT / "shared" / "bench" / "measured"
READMES = (ROOT / "README.md", ROOT / "README.zh-TW.md")

# The tags, in the order in which a run comes to them.
CONCERNS = (
    "seed", "device", "precision", "ddp", "data", "resume", "train", "accumulate", "clip",
    "schedule", "validate", "early-stop", "checkpoint", "log", "progress", "test", "predict",
)  # fmt: skip


def block(name: str, text: str) -> tuple[re.Pattern[str], int]:
    """The pattern of a generated block, and how often it occurs in the text."""
    pattern = re.compile(rf"(<!-- {name} -->\n)(?:.*?\n)?(<!-- /{name} -->)", re.S)
    return pattern, len(pattern.findall(text))


def generate(text: str, blocks: dict[str, str]) -> str:
    """Put each block's content between its two marks.

    Raises:
        ValueError: a block is missing, or stands there twice.
    """
    for name, content in blocks.items():
        pattern, count = block(name, text)
        if count != 1:
            raise ValueError(f"README.md: {count} blocks {name}; expected one")
        text = pattern.sub(lambda match, c=content: match[1] + c + "\n" + match[2], text)
    return text


def from_source() -> dict[str, str]:
    """The blocks that follow from the code alone."""
    # The command is the same on both sides.
    rows = [row for row in files() if row[0] != "__main__.py"]
    table = ["| file | raw_pytorch | lightning | |", "| --- | ---: | ---: | --- |"]
    for name, raw, lightning, _ in rows:
        if lightning is not None:
            table.append(f"| `{name}` | {raw} | {lightning} | |")
    only_raw = [(name, raw) for name, raw, lightning, _ in rows if lightning is None]
    names = ", ".join(f"`{name}`" for name, _ in only_raw)
    lines = sum(raw for _, raw in only_raw)
    table.append(f"| {names} | {lines} | – | an argument or a callback for each |")
    raw_total = sum(raw for _, raw, _, _ in rows[1:])
    lightning_total = sum(lightning or 0 for _, _, lightning, _ in rows[1:])
    table.append(f"| all but `minimal.py` | {raw_total} | {lightning_total} | |")
    return {"files": "\n".join(table), "concerns": concern_table()}


def concern_table() -> str:
    """One row for each tag: where it is done by hand, what does it in Lightning, and the lines."""
    raw, lightning = concerns(RAW), concerns(LIGHTNING)
    table = [
        "| concern | by hand | lines | with Lightning | lines |",
        "| --- | --- | ---: | --- | ---: |",
    ]
    for tag in CONCERNS:
        # A file of its own says it all; elsewhere, the places in the loop come first.
        places = sorted(raw[tag], key=lambda p: (p.file != "train.py", p.file))
        own = {name for name, _, lightning_lines, _ in files() if lightning_lines is None}
        names = [f"`{p.file}`" for p in places if p.file in own]
        names += [f"`{p.file}:{min(p.lines)}`" for p in places if p.lines and p.file not in own]
        shown = ", ".join(list(dict.fromkeys(names))[:3]) + (", …" if len(set(names)) > 3 else "")
        theirs = sorted(lightning[tag], key=lambda p: (p.file != "train.py", p.file))
        text = theirs[0].text.replace("|", "\\|")
        expression = f"`{text if len(text) <= 64 else text[:61] + '...'}`"
        table.append(
            f"| `[{tag}]` | {shown} | {total(raw[tag])} | {expression} | {total(lightning[tag])} |"
        )
    return "\n".join(table)


SEEDS = "mean of five seeds (least)"


def measured() -> dict[str, str]:
    """The blocks that come from runs, as far as there are any."""
    blocks = {}
    summaries = [newest_summary(side) for side in SIDES]
    if all(summaries):
        raw, lightning = map(closing_lines, summaries)
        text = f"```text\n$ make raw\n{raw}$ make lightning | tail -n 3\n"
        blocks["output"] = text + "".join(lightning.splitlines(keepends=True)[-3:]) + "```"
    columns = [f"{what}, {side}" for side in SIDES for what in (SEEDS, "training")]
    table = [f"| dataset | epochs | {' | '.join(columns)} |", "| --- " + "| ---: " * 5 + "|"]
    paths = [RUNS / "accuracy" / f"{name}.json" for name in ("digits", "mnist")]
    if all(path.is_file() for path in paths):
        for path in paths:
            result = json.loads(path.read_text())
            row = [result["dataset"], str(result["epochs"])]
            for side in SIDES:
                runs = [run for run in result["runs"] if run["implementation"] == side]
                accuracies = [run["test_accuracy"] for run in runs]
                seconds = statistics.median(run["fit_seconds"] for run in runs)
                row.append(f"{statistics.mean(accuracies):.2%} ({min(accuracies):.2%})")
                row.append(f"{seconds:.1f} s")
            table.append(f"| {' | '.join(row)} |")
        blocks["accuracy"] = "\n".join(table)
    path = RUNS / "mistakes" / "mistakes.json"
    if path.is_file():
        blocks["mistakes"] = mistake_table(json.loads(path.read_text())["rows"])
    if faults.found() and not faults.missing():
        blocks["faults"] = faults.table()
    return blocks


def from_bench(folder: Path = MEASURED, code: str = "en") -> dict[str, str]:
    """The blocks that follow from the files of a bench, in a language; none where there is no such
    file."""
    from shared.bench import claims
    from shared.bench import tables as bench_tables

    result = bench_tables.read(folder / "bench.json")
    if result is None:
        return {}
    peers = bench_tables.read(folder / "peers.json")
    return {
        "bench": bench_tables.markdown(result, peers, code),
        "claims": claims.markdown(result, code),
    }


def keep_bench() -> None:
    """Take over the newest files of a bench, if it was a whole one with MNIST."""
    from shared.bench import tables as bench_tables

    for name in ("bench", "peers"):
        found = bench_tables.read(RUNS / "bench" / f"{name}.json")
        if found is None or (name == "bench" and not found["settings"]["data_dir"]):
            continue
        MEASURED.mkdir(exist_ok=True)
        text = (RUNS / "bench" / f"{name}.json").read_text(encoding="utf-8")
        write_atomically(MEASURED / f"{name}.json", text)


def mistake_table(rows: list[dict[str, Any]]) -> str:
    """One row for each verdict on a mistake: how many there are, and which."""
    table = ["| with Lightning | | mistakes of the gallery |", "| --- | ---: | --- |"]
    for verdict in ("impossible", "still possible", "another trap"):
        # Some are made on both sides.
        names = dict.fromkeys(row["mistake"] for row in rows if row["verdict"] == verdict)
        table.append(f"| {verdict} | {len(names)} | {'; '.join(names).replace('|', '/')} |")
    named = sum(row["expected"] == row["found"] for row in rows)
    table.append(
        f"| named by the tool | {named} of {len(rows)} | at the right step, with the cause |"
    )
    return "\n".join(table)


def in_chinese(block: str) -> str:
    """The same block with the words of its tables in Chinese; what has no translation stays."""
    known = yaml.safe_load(Path(__file__).with_name("readme.yaml").read_text(encoding="utf-8"))
    known |= {name: entry["zh"] for name, entry in mistakes().items()}
    stop = words()["semicolon"]["zh"]

    def cell(text: str) -> str:
        if re.fullmatch(r" `[^`]*` ", text):  # what a program prints, in English
            return text
        parts = [known.get(part, part) for part in text.strip().split("; ")]
        translated = re.sub(r"^(\d+) of (\d+)$", r"\1 / \2", stop.join(parts))
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


def main() -> None:
    keep_bench()
    blocks = {**from_source(), **measured(), **from_bench()}
    chinese = {name: in_chinese(content) for name, content in blocks.items()}
    chinese |= from_bench(code="zh")
    for path, content in zip(READMES, (blocks, chinese), strict=True):
        write_atomically(path, generate(path.read_text(encoding="utf-8"), content))
    if "faults" in blocks:
        write_atomically(ROOT / "tests" / "README.md", faults.page())
    elif untried := faults.missing():
        print(f"The table of faults stays as it is; make test has not tried: {'; '.join(untried)}")


if __name__ == "__main__":
    main()
