"""Whether a try solves its puzzle; and if it does not, the one thing to say about it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from shared.divergence.comparing.differences import Finding, compare
from shared.divergence.records import Run
from shared.puzzles.catalogue import PORT, Puzzle
from shared.puzzles.trying import Try

# Averages over an epoch may be summed up in another order; all else is equal to the bit.
ROUNDING = 1e-6
# What a Trainer logs by itself.
ITS_OWN = ("epoch", "hp_metric")


@dataclass(frozen=True)
class Verdict:
    """What there is to say.

    Attributes:
        kind: "solved", "differs", or what went wrong, which is a key of words.yaml.
        mine: the try.
        finding: the first difference, where the divergence tool has named one; A is the learner's.
        what: of "less" and "points": what differs.
    """

    kind: str
    mine: Try
    finding: Finding | None = None
    what: str = ""

    @property
    def equal_steps(self) -> int:
        """How many steps were equal before the first difference: how warm one is."""
        if self.finding is not None:
            return max(0, self.finding.step - 1)
        return self.mine.run.trained if self.kind in ("less", "points", "weights", "solved") else 0


def judge(puzzle: Puzzle, mine: Try, right: Try) -> Verdict:
    """
    Args:
        mine: the learner's try.
        right: the run that it has to equal.
    """
    if mine.copied:
        return Verdict("copied", mine)
    if mine.how != "finished":
        return Verdict(mine.how, mine)
    if not mine.run.trained:
        return Verdict("untrained", mine)
    result = compare(mine.run, right.run)
    finding = result.finding or next(iter(result.rounding), None)
    if finding is not None:
        return Verdict("differs", mine, finding)
    if puzzle.track == PORT and mine.trainer_steps == 0:
        return Verdict("by-hand", mine)
    if puzzle.track != PORT and (less := _less(mine.run, right.run)):
        return Verdict("less", mine, what=less)
    if point := _point(mine, right):
        return Verdict("points", mine, what=point)
    if not mine.weights:
        return Verdict("no-module", mine)
    return Verdict("solved" if mine.weights == right.weights else "weights", mine)


def _less(mine: Run, right: Run) -> str:
    """What the right loop does more often: a feature that was taken out mends nothing. Empty if
    there is none."""
    ours, theirs = _counts(mine), _counts(right)
    for name, count in theirs.items():
        if ours[name] < count:
            return f"{name}: {ours[name]} < {count}"
    return ""


def _counts(run: Run) -> dict[str, int]:
    return {
        "optimizer.step": run.trained,
        "backward": sum(len(step.backwards) for step in run.steps),
        "clip_grad_norm_": sum(len(step.scaling) for step in run.steps),
        "module(...) in eval": sum(len(found) for found in run.evaluations.values()),
        "torch.save": sum(len(found) for found in run.saves.values()),
    }


def _point(mine: Try, right: Try) -> str:
    """The first point of the right run's curves that is not in the other's; empty if all are."""
    for (tag, step), value in right.points.items():
        ours = mine.points.get((tag, step))
        if ours is None:
            return f"{tag}, step {step}: - ≠ {value:.7g}"
        if not math.isclose(ours, value, rel_tol=ROUNDING):
            return f"{tag}, step {step}: {ours:.7g} ≠ {value:.7g}"
    for tag, step in mine.points:
        if (tag, step) not in right.points and tag not in ITS_OWN:
            return f"{tag}, step {step}: {mine.points[tag, step]:.7g} ≠ -"
    return ""
