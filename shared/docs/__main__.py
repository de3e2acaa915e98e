"""Writes the generated parts of the READMEs anew: python -m shared.docs (make readme)

What follows from the source is always written anew, and so is the report of the divergence tool,
which is run for it. What was measured comes from the newest runs below runs/, and stays as it is
where there are none; so do the pictures of the page that `make compare` has left, for which a
browser is needed. The whole file of a bench is kept in shared/bench/measured, so that every number
can be worked out again.
"""

from __future__ import annotations

from shared.docs import faults
from shared.docs.example import report
from shared.docs.photographs import photograph
from shared.docs.readme import (
    from_bench,
    from_source,
    keep_bench,
    keep_gallery,
    measured,
    write_anew,
)
from shared.errors import run
from shared.files import write_atomically
from shared.processes import ROOT


def main() -> None:
    keep_bench()
    keep_gallery()
    write_anew({**from_source(), **measured(), **from_bench(), "divergence": report()})
    if not photograph():
        print(
            "The pictures stay as they are; they need make compare, Playwright, a Chromium and a "
            "font with Chinese letters"
        )
    if faults.is_complete():
        write_atomically(ROOT / "tests" / "README.md", faults.page())
    else:
        untried = "; ".join(faults.missing()) or "what make test-chaos draws"
        print(f"The table of faults stays as it is; not tried here: {untried}")


if __name__ == "__main__":
    run(main)
