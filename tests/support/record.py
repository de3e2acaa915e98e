"""What a run computed, step by step, recorded from outside: neither side is touched for it."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.optim.optimizer import register_optimizer_step_post_hook

from shared.checkpoints import read_checkpoint
from shared.config import Config
from shared.data import ResumableLoader
from shared.summary import fingerprint

SIDES = ("raw_pytorch", "lightning")


@dataclass
class Record:
    """Losses are the tensors themselves, as the loss function returned them."""

    train_losses: list[torch.Tensor] = field(default_factory=list)
    eval_losses: list[torch.Tensor] = field(default_factory=list)
    learning_rates: list[float] = field(default_factory=list)
    gradients: list[str] = field(default_factory=list)
    weights: list[str] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)

    def checkpoint(self, name: str) -> dict[str, Any]:
        return read_checkpoint(Path(self.summary["run_dir"]) / "checkpoints" / f"{name}.ckpt")


@contextlib.contextmanager
def recording(expected: Record | None = None) -> Iterator[Record]:
    """Record every call of F.cross_entropy and every optimizer step of this process.

    Args:
        expected: what the training losses and weights should be; the run ends where they differ.

    Raises:
        AssertionError: they differ.
    """
    record = Record()
    cross_entropy = F.cross_entropy

    def recorded_cross_entropy(*args: Any, **kwargs: Any) -> torch.Tensor:
        loss = cross_entropy(*args, **kwargs)
        losses = record.train_losses if torch.is_grad_enabled() else record.eval_losses
        losses.append(loss.detach().clone())
        if expected and losses is record.train_losses:
            assert_begins_as(losses, expected.train_losses)
        return loss

    # The hook after the step and not the one before: in Lightning backward runs inside the step.
    def after_step(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        record.learning_rates.append(optimizer.param_groups[0]["lr"])
        record.weights.append(fingerprint({str(i): p for i, p in enumerate(parameters)}))
        if expected:
            assert_begins_as(record.weights, expected.weights)
        gradients = {str(i): p.grad for i, p in enumerate(parameters) if p.grad is not None}
        record.gradients.append(fingerprint(gradients))

    handle = register_optimizer_step_post_hook(after_step)
    F.cross_entropy = recorded_cross_entropy
    try:
        yield record
    finally:
        F.cross_entropy = cross_entropy
        handle.remove()


def assert_begins_as(ours: list, theirs: list) -> None:
    """The entries before the last were compared when they were the last."""
    assert len(ours) <= len(theirs), "more steps than expected"
    assert first_difference(ours[-1:], theirs[len(ours) - 1 : len(ours)]) is None


def record_fit(side: str, config: Config, expected: Record | None = None) -> Record:
    with recording(expected) as record:
        record.summary = importlib.import_module(f"{side}.train").train(config)
    return record


@contextlib.contextmanager
def at_batch(number: int, happens: Any) -> Iterator[None]:
    """Call `happens()` when the training loader hands out its batch `number`, counted from 0."""
    count, seen = ResumableLoader._count, 0

    def counted(self: ResumableLoader, batches: Iterator) -> Iterator:
        nonlocal seen
        for batch in count(self, batches):
            if seen == number:
                happens()
            seen += 1
            yield batch

    ResumableLoader._count = counted
    try:
        yield
    finally:
        ResumableLoader._count = count


@contextlib.contextmanager
def spoiled_loss(number: int, value: float) -> Iterator[None]:
    """The training loss number `number`, counted from 0, is `value`, and so are its gradients."""
    cross_entropy, seen = F.cross_entropy, 0

    def spoiled(*args: Any, **kwargs: Any) -> torch.Tensor:
        nonlocal seen
        loss = cross_entropy(*args, **kwargs)
        seen += torch.is_grad_enabled()
        return loss * value if torch.is_grad_enabled() and seen == number + 1 else loss

    F.cross_entropy = spoiled
    try:
        yield
    finally:
        F.cross_entropy = cross_entropy


def points(run_dir: Path) -> dict[str, dict[int, float]]:
    """TensorBoard's scalars; a point that was written again is there once."""
    found: dict[str, dict[int, float]] = {}
    events = EventAccumulator(str(run_dir), size_guidance={"scalars": 0}).Reload()
    for tag in events.Tags()["scalars"]:
        found[tag] = {event.step: event.value for event in events.Scalars(tag)}
    return found


def assert_equal_steps(raw: Record, lightning: Record) -> None:
    """Equal to the bit, in the order of causes: the first difference is the one reported."""
    assert raw.train_losses, "nothing was recorded"
    assert first_difference(raw.train_losses, lightning.train_losses) is None
    assert first_difference(raw.gradients, lightning.gradients) is None
    assert first_difference(raw.learning_rates, lightning.learning_rates) is None
    assert first_difference(raw.weights, lightning.weights) is None


def assert_equal_runs(raw: Record, lightning: Record) -> None:
    """Equal to the bit, steps, checkpoints and results."""
    assert_equal_steps(raw, lightning)
    assert raw.summary["weights_sha256"] == lightning.summary["weights_sha256"]
    assert raw.summary["best_weights_sha256"] == lightning.summary["best_weights_sha256"]
    for name in (
        "epochs", "global_step", "best_epoch", "parameters", "train_images", "precision",
        "val_loss", "val_accuracy", "test_loss", "test_accuracy",
    ):  # fmt: skip
        assert raw.summary[name] == lightning.summary[name], name


def first_difference(ours: list, theirs: list) -> str | None:
    """Where two lists differ first, in words; None where they are equal to the bit."""
    for i, (a, b) in enumerate(zip(ours, theirs, strict=False)):
        if not (torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b):
            return f"step {i}: {a} and {b}"
    return None if len(ours) == len(theirs) else f"{len(ours)} and {len(theirs)} entries"
