"""Running both sides under the tracer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from shared.compare.trace.events import Trace, from_json
from shared.errors import RunError
from shared.files import SIDES
from shared.processes import ROOT, run_module


def trace_both() -> tuple[Trace, Trace]:
    """The traces of the raw and of the Lightning side.

    Raises:
        RunError: a side could not be run.
    """
    with ThreadPoolExecutor(2) as pool:
        raw, lightning = pool.map(trace, SIDES)
    return raw, lightning


def trace(side: str) -> Trace:
    """Run a side in a process of its own: both could not be wrapped in one.

    Raises:
        RunError: the side could not be run.
    """
    done = run_module("shared.compare.trace.tracer", [side], folder=ROOT)
    if done.status:
        raise RunError(f"tracing {side} failed: {done.last_line}")
    return from_json(done.out)
