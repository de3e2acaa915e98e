"""The table of what the tests break on purpose, from the record they keep in
tests/support/faults.py."""

from __future__ import annotations

import dataclasses
import json
import re

from shared.files import RUNS, SIDES
from shared.processes import ROOT
from shared.reporting.markdown import table


@dataclasses.dataclass
class Fault:
    """One thing that is broken on purpose, by one test or many."""

    kind: str
    sees: str = ""
    tried: dict[str | None, int] = dataclasses.field(default_factory=dict)
    """Cases by side; None stands for code that both sides share."""
    lost: int = 0

    def add(self, other: Fault) -> None:
        for side, count in other.tried.items():
            self.tried[side] = self.tried.get(side, 0) + count
        self.sees, self.lost = self.sees or other.sees, self.lost + other.lost

    def counts(self) -> tuple[str, ...]:
        """Cases on the raw side, on Lightning's, and of what both share."""
        return tuple(str(self.tried.get(side, "–")) for side in (*SIDES, None))


def found() -> dict[str, Fault]:
    """What was tried, by name. Where `make test-chaos` has drawn more cases of a fault than `make
    test`, its number counts; what either of them lost counts always."""
    short, long = _read("faults"), _read("chaos")
    for name, fault in long.items():
        if name in short and sum(short[name].tried.values()) < sum(fault.tried.values()):
            short[name].tried = {}
        elif name in short:
            fault.tried = {}
        short.setdefault(name, Fault(fault.kind)).add(fault)
    return short


def _read(record: str) -> dict[str, Fault]:
    path = RUNS / "faults" / f"{record}.json"
    faults: dict[str, Fault] = {}
    for result in json.loads(path.read_text(encoding="utf-8")).values() if path.is_file() else ():
        tried = {result["side"]: result["tried"]}
        fault = Fault(result["kind"], result.get("sees", ""), tried, result["lost"])
        faults.setdefault(result["fault"], Fault(result["kind"])).add(fault)
    return faults


def marked() -> set[str]:
    """The faults that tests are marked with, as their source says."""
    files = [path for path in ROOT.glob("tests/*/test_*.py") if path.stem != "test_faults"]
    texts = [path.read_text(encoding="utf-8") for path in files]
    return {name for text in texts for name in re.findall(r'mark\.fault\(\s*"(.+?)"', text)}


def missing() -> list[str]:
    """Faults that are not in the record: without them, the table would say too little."""
    return sorted(marked() - found().keys())


def is_complete() -> bool:
    """Whether both records are there, of the tests and of the long draw, and no fault is missing:
    without the long draw, the table would lose most of its cases."""
    return all(map(_read, ("faults", "chaos"))) and not missing()


def page() -> str:
    """tests/README.md: a row for each fault."""
    rows = [
        (fault.kind, _cell(name), _seen(fault), *fault.counts(), str(fault.lost))
        for name, fault in sorted(found().items(), key=lambda item: (item[1].kind, item[0]))
    ]
    head = ("", "fault", "what the user sees", *SIDES, "shared", "lost")
    return PAGE + table(head, rows, "lllrrrr") + "\n"


PAGE = """# What the tests break on purpose

A row for each fault: what the user sees of it, how many cases were tried on each side and on code
that both sides share, and in how many of them something was lost or a wrong result went unnoticed.
`make test`, `make test-long` and `make test-chaos` keep the record, and `make readme` writes this
page from it.

"""


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("<", "&lt;")


def _seen(fault: Fault) -> str:
    """A program's line as code, words as they are."""
    line = fault.sees
    return f"`{line.replace('|', '/').replace('`', '')}`" if line[:6] == "error:" else _cell(line)
