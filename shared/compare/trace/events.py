"""What a traced run did, event by event, and how that goes from one process to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# A file as `package/path.py`, a line of it, and the function it belongs to.
Frame = tuple[str, int, str]


@dataclass(frozen=True)
class OperationCall:
    """An operation was called.

    Attributes:
        name: of the operation.
        frames: the way to the call, innermost first.
        hooks: the methods for overriding on this way, innermost first.
        sanity: whether it ran in the Trainer's sanity check.
    """

    name: str
    frames: list[Frame]
    hooks: list[str]
    sanity: bool


@dataclass(frozen=True)
class HookCall:
    """A hook begins, or returns.

    Attributes:
        name: of the hook.
        on: the class of Lightning that declares it.
        by: the class whose method it is.
        does: what the method is: one of this repository ("own"), one of Lightning's that works
            ("lightning"), or one that does nothing until it is overridden ("nothing").
        enter: whether it begins.
    """

    name: str
    on: str
    by: str
    does: str
    enter: bool


Event = OperationCall | HookCall


@dataclass(frozen=True)
class Trace:
    """A traced run: the fingerprint of its weights, and its events in the order in which they
    happened."""

    weights_sha256: str
    events: list[Event]

    @property
    def calls(self) -> list[OperationCall]:
        return [event for event in self.events if isinstance(event, OperationCall)]

    def to_dict(self) -> dict[str, Any]:
        # Frames repeat; `dataclasses.asdict` would copy each of them.
        return {
            "weights_sha256": self.weights_sha256,
            "events": [vars(event) for event in self.events],
        }


def from_dict(content: dict[str, Any]) -> Trace:
    """Read what `Trace.to_dict` made."""
    return Trace(content["weights_sha256"], [_event(values) for values in content["events"]])


def _event(values: dict[str, Any]) -> Event:
    if "enter" in values:
        return HookCall(**values)
    frames = [(file, line, function) for file, line, function in values.pop("frames")]
    return OperationCall(frames=frames, **values)
