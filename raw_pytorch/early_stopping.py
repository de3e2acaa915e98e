"""[early-stop] Stopping when the validation loss no longer falls, by hand.

Lightning: EarlyStopping(monitor="val/loss", patience=...)
"""

import math


class EarlyStopping:
    """Counts the epochs since the best validation loss. Without a patience it never stops."""

    def __init__(self, patience: int | None) -> None:
        self.patience = patience
        self.wait_count = 0
        self.best_score = math.inf
        self.should_stop = False

    def step(self, val_loss: float) -> None:
        """Take in the loss of one more epoch."""
        if self.patience is None:
            return
        if val_loss < self.best_score:
            self.best_score, self.wait_count = val_loss, 0
        else:
            self.wait_count += 1
            self.should_stop = self.wait_count >= self.patience
