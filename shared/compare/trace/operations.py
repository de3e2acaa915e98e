"""The operations in which both sides end: what the trace wraps, and the concern it belongs to. Why
counts differ stands in `words.yaml`."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

# The packages whose lines are looked for beside those of the side that is traced.
PACKAGES = ("pytorch_lightning", "lightning_fabric")


@dataclass(frozen=True)
class Operation:
    """One row of the table "where did the line go".

    Attributes:
        name: as a reader would write the call.
        tag: the concern it belongs to.
        targets: what is wrapped, as `module:attribute`, `{side}` replaced by the traced side.
            Targets in Lightning's packages are wrapped on that side only.
        of: which calls count: those on the model, on a batch, on a loss, on one of the module's
            metrics, those not made by torch or torchmetrics itself ("direct"), those made by
            the traced side's own files ("own"), or all.
        hook: which method on the way from the Trainer to the call is the one to override; if empty,
            the innermost.
        change: what to tell the Trainer instead, where no method on the way is for overriding.
    """

    name: str
    tag: str
    targets: tuple[str, ...]
    of: str = "all"
    hook: str = ""
    change: str = ""


def package_folder(name: str) -> Path:
    """Where an installed package lies, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{name} is not installed")
    return Path(spec.origin).parent


def _op(name: str, tag: str, targets: str = "", **more: str) -> Operation:
    return Operation(name, tag, tuple(targets.split()), **more)


MODULE, DATA = "{side}.module:ImageClassifier", "{side}.data:ImageData"
WRITER = "torch.utils.tensorboard:SummaryWriter"
BAR = "__init__ reset update refresh set_postfix set_description close".split()


METRIC = "raw_pytorch.metrics:MeanMetric"
# In the order in which a run comes to them.
OPERATIONS = (
    _op("torch.use_deterministic_algorithms", "seed", "torch:use_deterministic_algorithms",
        change="Trainer(deterministic=...)"),
    _op("random.seed", "seed", "random:seed", change="seed_everything(...)"),
    _op("numpy.random.seed", "seed", "numpy.random:seed", change="seed_everything(...)"),
    _op("torch.manual_seed", "seed", "torch:manual_seed", change="seed_everything(...)"),
    _op("data.prepare_data", "data", f"{DATA}.prepare_data",
        change="LightningDataModule.prepare_data"),
    _op("data.setup", "data", f"{DATA}.setup", change="LightningDataModule.setup"),
    _op("data.train_dataloader", "data", f"{DATA}.train_dataloader",
        change="LightningDataModule.train_dataloader"),
    _op("data.val_dataloader", "data", f"{DATA}.val_dataloader",
        change="LightningDataModule.val_dataloader"),
    _op("data.test_dataloader", "data", f"{DATA}.test_dataloader",
        change="LightningDataModule.test_dataloader"),
    _op("module.to", "device", "torch.nn:Module.to", of="model", hook="Strategy.model_to_device"),
    _op("module.configure_optimizers", "schedule", f"{MODULE}.configure_optimizers",
        change="LightningModule.configure_optimizers"),
    _op("sampler.set_epoch", "seed", "torch.utils.data:DistributedSampler.set_epoch",
        change="LightningDataModule.train_dataloader"),
    _op("iter(loader)", "train", "torch.utils.data:DataLoader.__iter__",
        change="LightningDataModule.train_dataloader"),
    _op("next(batches)", "train", "torch.utils.data.dataloader:_BaseDataLoaderIter.__next__",
        change="LightningDataModule.train_dataloader"),
    _op("batch.to", "device", "torch:Tensor.to", of="batch",
        hook="LightningModule.transfer_batch_to_device"),
    _op("module.train", "train",
        "torch.nn:Module.train pytorch_lightning.utilities.model_helpers:_ModuleMode.restore",
        of="model", change="LightningModule.on_validation_model_train"),
    _op("torch.autocast", "precision", "torch:autocast.__enter__",
        change="Trainer(precision=...)"),
    _op("module.training_step", "train", f"{MODULE}.training_step",
        change="LightningModule.training_step"),
    _op("optimizer.zero_grad", "train", "torch.optim:Optimizer.zero_grad",
        hook="LightningModule.optimizer_zero_grad"),
    _op("check_val_loss", "validate", "shared.finite:check_val_loss",
        hook="Callback.on_validation_end"),
    _op("finite_loss.step", "train", "shared.finite:FiniteLoss.step",
        hook="Callback.on_before_backward"),
    _op("loss / n", "accumulate", "torch:Tensor.__truediv__", of="loss",
        change="Trainer(accumulate_grad_batches=...)"),
    _op("loss.backward", "train", "torch:Tensor.backward", hook="LightningModule.backward"),
    _op("clip_grad_norm_", "clip", "torch.nn.utils:clip_grad_norm_",
        hook="LightningModule.configure_gradient_clipping"),
    # Recorded by PyTorch's own hook: every optimizer class has a step of its own.
    _op("optimizer.step", "train", hook="LightningModule.optimizer_step"),
    _op("scheduler.step", "schedule", "torch.optim.lr_scheduler:LRScheduler.step", of="direct",
        hook="LightningModule.lr_scheduler_step"),
    _op("module.eval", "validate", "torch.nn:Module.eval", of="model",
        hook="LightningModule.on_validation_model_eval"),
    _op("torch.no_grad", "validate", "torch:no_grad.__enter__ torch:inference_mode.__enter__",
        of="direct", change="Trainer(inference_mode=...)"),
    _op("module.validation_step", "validate", f"{MODULE}.validation_step",
        change="LightningModule.validation_step"),
    _op("module.test_step", "test", f"{MODULE}.test_step", change="LightningModule.test_step"),
    _op("metric.update", "validate", f"torchmetrics:Metric._wrap_update {METRIC}.update",
        of="metric"),
    _op("metric.compute", "validate", f"torchmetrics:Metric._wrap_compute {METRIC}.compute",
        of="metric", change="self.log(...)"),
    _op("metric.reset", "validate", f"torchmetrics:Metric.reset {METRIC}.reset",
        of="metric", change="self.log(...)"),
    _op("early_stopping.step", "early-stop",
        "{side}.early_stopping:EarlyStopping.step "
        "pytorch_lightning.callbacks:EarlyStopping._run_early_stopping_check",
        change="EarlyStopping(...)"),
    _op("module.state_dict", "checkpoint", "torch.nn:Module.state_dict", of="model",
        hook="Strategy.lightning_module_state_dict"),
    _op("torch.save", "checkpoint", "torch:save", of="direct", hook="CheckpointIO.save_checkpoint"),
    _op("torch.load", "checkpoint", "torch:load", of="direct", hook="CheckpointIO.load_checkpoint"),
    _op("module.load_state_dict", "checkpoint", "torch.nn:Module.load_state_dict", of="model",
        hook="Strategy.load_model_state_dict"),
    _op("interrupt.requested", "checkpoint", "shared.signals:Interrupt.requested", of="own"),
    _op("interrupt.leave_if_requested", "checkpoint",
        "shared.signals:Interrupt.leave_if_requested", of="own"),
    _op("interrupt.finish", "checkpoint", "shared.signals:Interrupt.finish", of="own"),
    _op("writer.add_scalar", "log", f"{WRITER}.add_scalar", change="self.log(...)"),
    _op("writer.add_graph", "log", f"{WRITER}.add_graph", hook="Callback.on_train_start"),
    _op("writer.add_figure", "log", f"{WRITER}.add_figure", hook="Callback.on_train_end"),
    _op("writer.close", "log", f"{WRITER}.close", change="TensorBoardLogger(...)"),
    _op("progress bar", "progress", " ".join(f"tqdm:tqdm.{name}" for name in BAR),
        change="TQDMProgressBar(...)"),
    _op("init_process_group", "ddp", "torch.distributed:init_process_group",
        change="Trainer(strategy=...)"),
    _op("broadcast_object_list", "ddp", "torch.distributed:broadcast_object_list",
        change="Trainer(strategy=...)"),
    _op("DistributedDataParallel", "ddp", "torch.nn.parallel:DistributedDataParallel.__init__",
        change="Trainer(strategy=...)"),
)  # fmt: skip
