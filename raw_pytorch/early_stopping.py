"""[early-stop] Stopping when the validation loss no longer falls, by hand.

Lightning: EarlyStopping(monitor="val/loss", patience=...)
"""

from __future__ import annotations

import math
from typing import Any


class EarlyStopping:
    """Counts the epochs since the best validation loss. Without a patience it never stops."""

    def __init__(self, patience: int | None) -> None:
        self.patience, self.wait_count, self.best_score = patience, 0, math.inf
        self.should_stop = False

    def step(self, val_loss: float) -> None:
        """Take in the loss of one more epoch. One that is not finite stops at once."""
        if self.patience is None:
            return
        if not math.isfinite(val_loss):
            self.should_stop = True
        elif val_loss < self.best_score:
            self.best_score, self.wait_count = val_loss, 0
        else:
            self.wait_count += 1
            self.should_stop = self.wait_count >= self.patience

    def state_dict(self) -> dict[str, Any]:
        return {"wait_count": self.wait_count, "best_score": self.best_score}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.wait_count, self.best_score = state["wait_count"], float(state["best_score"])
