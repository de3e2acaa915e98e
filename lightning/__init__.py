"""The Lightning side. This file makes the folder a regular package: an installed package of that
name would win over a folder without one."""

import logging
import warnings

from shared import need

need("torch", "jsonargparse", "sklearn", "pytorch_lightning")

# What Lightning would say on the screen of every run, and why this project need not hear it.
for _message in (
    # The data lies in memory: more workers would make the loaders slower, not faster.
    "The '.*_dataloader' does not have many workers",
    # digits has fewer batches an epoch than the default interval.
    "The number of training batches .* is smaller than the logging interval",
    # Lightning 2.6.6 with the newest torch; nothing a reader could change.
    "`isinstance.treespec, LeafSpec.` is deprecated",
    # TensorBoard traces the model in a way that PyTorch has begun to leave behind.
    "`torch.jit.trace",
    # The run folder is made first, so that two runs never share one.
    "The dirpath has changed from",
    "(Checkpoint|Experiment logs) directory .* exists and is not empty",
    # Several processes are started by torchrun, or by ourselves; on a cluster, too.
    "The `srun` command is available on your system but is not used",
    # What saves within an epoch has no state that a run resumed without it would miss.
    "Be aware that when using `ckpt_path`, callbacks used to create the checkpoint",
):
    warnings.filterwarnings("ignore", message=_message)
# Advertisements and the list of devices come as INFO.
logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
logging.getLogger("lightning_fabric.utilities.rank_zero").setLevel(logging.WARNING)
logging.getLogger("lightning_fabric.utilities.distributed").setLevel(logging.WARNING)
