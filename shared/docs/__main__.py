"""Writes the generated parts of both READMEs anew: python -m shared.docs (make readme)

What follows from the source is always written anew. What was measured comes from the newest runs
below runs/, and stays as it is where there are none. Of a bench, the whole file is kept in
shared/bench/measured, so that every number in the README can be worked out again.
"""

from __future__ import annotations

from shared.docs import faults
from shared.docs.readme import (
    blocks_of,
    from_bench,
    from_source,
    generate,
    in_chinese,
    keep_bench,
    keep_gallery,
    measured,
)
from shared.files import write_atomically
from shared.processes import ROOT

READMES = (ROOT / "README.md", ROOT / "README.zh-TW.md")


def main() -> None:
    keep_bench()
    keep_gallery()
    blocks = {**from_source(), **measured(), **from_bench()}
    english, chinese = READMES
    text = generate(english.read_text(encoding="utf-8"), blocks)
    write_atomically(english, text)
    # The whole of the English one, not only what is new: its Chinese words may be.
    translated = {name: in_chinese(content) for name, content in blocks_of(text).items()}
    translated |= from_bench(code="zh")
    write_atomically(chinese, generate(chinese.read_text(encoding="utf-8"), translated))
    if "faults" in blocks:
        write_atomically(ROOT / "tests" / "README.md", faults.page())
    elif untried := faults.missing():
        print(f"The table of faults stays as it is; make test has not tried: {'; '.join(untried)}")


if __name__ == "__main__":
    main()
