"""How fast both sides are, and what Lightning costs: python -m shared.bench (make bench)

Both sides run in turn, each in a process of its own, several times; what is too short for that, as
the ladder of features, is made in one process. Every result is written to runs/bench at once; a
bench that was interrupted is taken up by the next one, if neither the code nor the machine has
changed. `--only` measures one part anew, and puts it into the whole bench that this machine has
made before.
"""

from __future__ import annotations

import os
import signal
from argparse import Namespace

from shared.config import Config
from shared.errors import run
from shared.reporting.command_line import InstrumentParser


def main() -> None:
    parser = InstrumentParser(prog="python -m shared.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few parts, little repeated")
    parser.add_argument("--only", help="one part: start, digits, mnist, ladder, ...")
    parser.add_argument("--data_dir", default=os.environ.get("MNIST_DIR", "data"))
    parser.add_argument("--threads", type=int, default=Config().threads, help="of every program")
    parser.add_argument("--accelerator", default="cpu", choices=("cpu", "cuda", "mps"))
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    run(lambda: measure(args))


def measure(args: Namespace) -> None:
    from shared.bench.measuring import make_bench  # with torch, which --help need not

    make_bench(args)


if __name__ == "__main__":
    main()
