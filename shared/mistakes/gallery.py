"""The gallery of mistakes: each a few lines changed in a copy of one side, trained on the digits
with and without, and looked at by the instrument that finds the first difference.

python -m shared.mistakes.gallery        (make mistakes)

Writes runs/mistakes/mistakes.json, from which the compare page has its section about them and the
README its table.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.compare.source.lines import ROOT
from shared.divergence.divergence import Command, record, report
from shared.divergence.records import Run
from shared.errors import RunError, fail, run
from shared.files import RUNS, write_atomically

# For each file of a side: the text that is replaced, what takes its place, and how often it has to
# occur there if not once.
Edits = dict[str, list[tuple]]

# Ten steps an epoch, the last batch of training and of validation smaller than the others.
OPTIONS: dict[str, Any] = {"batch_size": 128, "max_epochs": 6, "accelerator": "cpu"}

IMPOSSIBLE, POSSIBLE, TRAP = "impossible", "still possible", "another trap"


@dataclass(frozen=True)
class Mistake:
    """One mistake, on the raw side unless `side` says otherwise.

    `right` is changed on both runs, so that the mistake has something to spoil. `cause` and `step`
    are what the instrument has to find. `lightning` says what Lightning makes of the mistake, and
    `twin` is the same one made there.
    """

    name: str
    wrong: Edits
    cause: str
    step: int
    verdict: str
    lightning: str
    options: dict[str, Any] = field(default_factory=dict)
    right: Edits = field(default_factory=dict)
    twin: Edits = field(default_factory=dict)
    twin_cause: str = ""
    side: str = "raw_pytorch"


UNSCALE = "            precision.scaler.unscale_(optimizer)  # [precision] before clipping\n"
MAKE_OPTIMIZER = "    optimizer, scheduler = module.configure_optimizers(len(train_loader))\n"
SEED = "    seed_everything(config.seed)  # [seed] before the weights are drawn\n"
SEED_LIGHTNING = (
    "    pl.seed_everything(config.seed, verbose=False)  # [seed] random, numpy and torch at once\n"
)
MAKE_MODULE = "    module = ImageClassifier(**config.module_hparams())\n"
PROBABILITIES = "        self.val_probabilities: list[Tensor] = []\n"
APPEND = "        self.val_probabilities.append(logits.softmax(dim=1))\n"
TRAIN_ACCURACY = "        train_accuracy = module.train_accuracy.compute().item()\n"
VAL_LOADER = '        return self._loader("val", shuffle=False)\n'
NEW_HEAD = "    module.net[-1] = torch.nn.Linear(576, 10)\n"
F1 = "from torchmetrics.classification import MulticlassF1Score\n"
LOG_F1 = (
    '        logger.log({"val/f1": module.val_f1.compute().item()}, global_step - 1)\n'
    "        module.val_f1.reset()\n"
)
HIDDEN_HEAD: Edits = {
    "module.py": [
        (
            "self.net = ConvNet(dropout, width)",
            "self.net = ConvNet(dropout, width)\n        self.layers = [self.net.pop(-1)]",
        ),
        ("return self.net(images)", "return self.layers[0](self.net(images))"),
    ]
}
# TensorBoard's graph of the model cannot be drawn with layers that are not registered.
NO_GRAPH: Edits = {"train.py": [("logger.graph(module, device)", "pass")]}
NO_GRAPH_TWIN: Edits = {"train.py": [("log_graph=True", "log_graph=False")]}
SOFTMAX: Edits = {
    "module.py": [
        ("loss = F.cross_entropy(logits", "loss = F.cross_entropy(logits.softmax(1)"),
    ]
}
SUMMED: Edits = {
    "module.py": [
        (
            "loss = F.cross_entropy(logits, labels",
            'loss = F.cross_entropy(logits, labels, reduction="sum"',
        )
    ]
}
ALONE: Edits = {
    "module.py": [
        ("validate_args=False)", "validate_args=False, sync_on_compute=False)"),
        ("MeanMetric()", "MeanMetric(sync_on_compute=False)", 2),
    ]
}
LOAD = "            self.splits = data.load(self.hparams.dataset, self.hparams.data_dir)\n"
CUT = (  # to a number that two processes cannot share evenly
    '            val = self.splits["val"]\n'
    "            val.images, val.labels = val.images[:179], val.labels[:179]\n"
)
UNEQUAL: Edits = {"module.py": [(", weight=len(labels)", "", 2)]}

MISTAKES = [
    Mistake(
        "zero_grad() forgotten",
        {"train.py": [("optimizer.zero_grad()", "pass")]},
        "zero_grad-forgotten", 2,
        IMPOSSIBLE, "the Trainer calls zero_grad() before each window's first backward()",
    ),
    Mistake(
        "eval() left on while training",
        {"train.py": [("        module.train()\n", "        module.eval()\n")]},
        "mode", 1,
        TRAP, "fit leaves the modes as it finds them: an eval() before it sticks (since 2.2)",
        twin={"train.py": [("trainer.fit(module", "module.eval()\n    trainer.fit(module")]},
    ),
    Mistake(
        "no train() after validation",
        {
            "evaluate.py": [("module.train()", "pass")],
            "train.py": [("        module.train()\n", "        _ = epoch or module.train()\n")],
        },
        "mode", 11,
        IMPOSSIBLE, "the Trainer remembers each layer's mode and puts it back",
    ),
    Mistake(
        "eval() forgotten in validation",
        {"evaluate.py": [("module.eval()", "pass")]},
        "evaluation-mode", 10,
        IMPOSSIBLE, "the Trainer calls eval() before validation and test",
    ),
    Mistake(
        "loss not divided in accumulation",
        {"train.py": [("loss / config.accumulate_grad_batches", "loss")]},
        "loss-not-divided", 1,
        IMPOSSIBLE, "accumulate_grad_batches divides; with manual optimization it is yours again",
        options={"accumulate_grad_batches": 4, "gradient_clip_val": 0.5},
    ),
    Mistake(
        "zero_grad() for every batch of a window",
        {"train.py": [("if batch_idx % config.accumulate_grad_batches == 0:", "if True:")]},
        "zero_grad-in-window", 1,
        IMPOSSIBLE, "the Trainer zeroes once a window",
        options={"accumulate_grad_batches": 4},
    ),
    Mistake(
        "clipping forgotten",
        {"train.py": [("torch.nn.utils.clip_grad_norm_(module.parameters(), config", "(config")]},
        "clip-missing", 1,
        POSSIBLE, "one argument, gradient_clip_val; off by default",
        options={"gradient_clip_val": 0.5},
        twin={"train.py": [("gradient_clip_val=config.gradient_clip_val,", "")]},
    ),
    Mistake(
        "clipping before unscaling",
        {
            "train.py": [
                (UNSCALE, ""),
                (
                    "            precision.scaler.step(optimizer)",
                    UNSCALE + "            precision.scaler.step(optimizer)",
                ),
            ]
        },
        "clip-scaled", 1,
        IMPOSSIBLE, "the Trainer unscales first; until 1.5 it did not (PL#9330)",
        options={"gradient_clip_val": 0.5},
        # The scaler that 16-mixed has on a GPU, here with float32.
        right={"precision.py": [('enabled=precision == "16-mixed"', "init_scale=1024.0")]},
    ),
    Mistake(
        "schedule stepped once an epoch",
        {
            "train.py": [
                ("            scheduler.step()  # [schedule] once per optimizer step\n", ""),
                ("        # [validate] after every epoch\n", "        scheduler.step()\n"),
            ]
        },
        "schedule-epoch", 2,
        TRAP, 'once an epoch is the default: {"interval": "step"} is easily forgotten',
        twin={"module.py": [('"interval": "step", ', "")]},
    ),
    Mistake(
        "schedule forgotten",
        {"train.py": [("scheduler.step()", "pass")]},
        "schedule-still", 2,
        IMPOSSIBLE, "a schedule that configure_optimizers returns is stepped",
    ),
    Mistake(
        "sampler without set_epoch",
        {"train.py": [("train_loader.sampler.set_epoch(epoch)", "pass")]},
        "batch-repeated", 11,
        IMPOSSIBLE, "the Trainer calls set_epoch on any sampler that has it",
    ),
    Mistake(
        "dropout drawn without a seed of the epoch",
        {"train.py": [("seed_epoch(config.seed, epoch, device)", "pass")]},
        "generator-seed", 1,
        POSSIBLE, "no seed per epoch, and no generator state in its checkpoints (PL#17543)",
        options={"dropout": 0.2},
        twin={"module.py": [("seed_epoch(self", "(self")]},
    ),
    Mistake(
        "a validation loader that draws from the global generator",
        {"data.py": [(VAL_LOADER, VAL_LOADER.replace("return", "loader =")
                      + "        loader.generator = None\n        return loader\n")]},
        "generator-loader", 11,
        POSSIBLE, "its sanity check is isolated, the validations after it are not",
        options={"dropout": 0.2},
        right={"train.py": [("seed_epoch(config.seed, epoch, device)", "pass")]},
    ),
    Mistake(
        "seeded after the model was made",
        {"train.py": [(SEED, ""), ("    module.to(device)", SEED + "    module.to(device)")]},
        "weights-seed-late", 1,
        POSSIBLE, "seed_everything is a line of yours, and stands where you put it",
        twin={
            "train.py": [
                (SEED_LIGHTNING, ""),
                (MAKE_MODULE, MAKE_MODULE + SEED_LIGHTNING),
            ]
        },
    ),
    Mistake(
        "layers in a plain list, not registered",
        HIDDEN_HEAD | NO_GRAPH, "weights-missing", 1,
        POSSIBLE, "a LightningModule is an nn.Module: a list hides layers from it as well",
        twin=HIDDEN_HEAD | NO_GRAPH_TWIN,
    ),
    Mistake(
        "optimizer made before the model was moved",
        {
            "train.py": [
                (MAKE_OPTIMIZER, ""),
                (
                    "    module.to(device)",
                    MAKE_OPTIMIZER
                    # What moving does on a TPU; on a CPU or GPU parameters stay the same objects.
                    + "    torch.__future__.set_overwrite_module_params_on_conversion(True)\n"
                    + "    module.to(device)",
                ),
            ]
        },
        "optimizer-foreign", 1,
        IMPOSSIBLE, "the Trainer moves the model before it calls configure_optimizers",
    ),
    Mistake(
        "a new last layer after the optimizer was made",
        {
            "train.py": [
                ("    module.to(device)", "    module.to(device)"),
                ("    bar = ProgressBar(", NEW_HEAD + "    bar = ProgressBar("),
            ]
        },
        "optimizer-missing", 1,
        POSSIBLE, "configure_optimizers runs late, but a hook may still change layers after it",
        right={"train.py": [("    module.to(device)", NEW_HEAD + "    module.to(device)")]},
    ),
    Mistake(
        "softmax before cross entropy",
        SOFTMAX, "loss-softmax", 1,
        POSSIBLE, "the training step is yours", twin=SOFTMAX,
    ),
    Mistake(
        "loss summed over the batch",
        SUMMED, "loss-reduction", 1,
        POSSIBLE, "the training step is yours", twin=SUMMED,
    ),
    Mistake(
        "last window left without a step",
        {"train.py": [("is_full = is_last or ", "is_full = ")]},
        "window", 3,
        IMPOSSIBLE, "the Trainer steps at the end of an epoch; scaled down, though (PL#19987)",
        options={"accumulate_grad_batches": 4},
    ),
    Mistake(
        "forward pass outside autocast",
        {"train.py": [("with precision.autocast():", "if True:")]},
        "forward-autocast", 1,
        IMPOSSIBLE, "precision= wraps every step",
        options={"precision": "bf16-mixed"},
    ),
    Mistake(
        "validation outside autocast",
        {"evaluate.py": [(", precision.autocast()", "")]},
        "evaluation-autocast", 10,
        IMPOSSIBLE, "precision= wraps every step",
        options={"precision": "bf16-mixed"},
    ),
    Mistake(
        "no_grad() missing in validation",
        {"evaluate.py": [("torch.no_grad()", "torch.enable_grad()")]},
        "evaluation-grad", 10,
        IMPOSSIBLE, "the Trainer validates under inference_mode()",
    ),
    Mistake(
        "batch means averaged over unequal batches",
        UNEQUAL, "evaluation-mean", 10,
        POSSIBLE, "self.log weights a plain loss by its batch; a metric of your own it does not",
        twin=UNEQUAL,
    ),
    Mistake(
        "F1 averaged over batches",
        {
            "module.py": [
                (PROBABILITIES, PROBABILITIES + "        self.val_f1 = MeanMetric()\n"
                 "        self.f1 = MulticlassF1Score(10)\n"),
                (APPEND, APPEND + "        self.val_f1.update(self.f1(logits, labels))\n"),
            ],
        },
        "reported-ratio", 10,
        TRAP, "self.log of a number averages it over batches; give it the metric object",
        right={
            "module.py": [
                ("import math\n", "import math\n" + F1),
                (PROBABILITIES, PROBABILITIES + "        self.val_f1 = MulticlassF1Score(10)\n"),
                (APPEND, APPEND + "        self.val_f1.update(logits, labels)\n"),
            ],
            "train.py": [(TRAIN_ACCURACY, LOG_F1 + TRAIN_ACCURACY)],
        },
    ),
    Mistake(
        "metrics not reset",
        {"evaluate.py": [("metric.reset()", "pass")]},
        "evaluation-reset", 20,
        IMPOSSIBLE, "a metric given to self.log is reset after each epoch",
    ),
    Mistake(
        "last weights tested instead of the best",
        {"train.py": [("checkpoints.read_checkpoint(best)", "checkpoints.read_checkpoint(last)")]},
        "evaluation-weights", 20,
        TRAP, "trainer.test(module) tests the last weights, without a word; say ckpt_path=",
        options={"lr": 0.3, "max_epochs": 4, "early_stopping_patience": 1},
        twin={"train.py": [("ckpt_path=best_path,", "")]},
    ),
    Mistake(
        "early stopping one epoch late",
        {"early_stopping.py": [("wait_count >= self.patience", "wait_count > self.patience")]},
        "steps", 21,
        IMPOSSIBLE, "EarlyStopping counts, and its counter is in the checkpoint",
        options={"lr": 0.3, "max_epochs": 4, "early_stopping_patience": 1},
    ),
    Mistake(
        "saved without the optimizer's state",
        {"checkpoint.py": [('[parts["optimizer"].state_dict()]', "[]")]},
        "saved-optimizer", 10,
        TRAP, "save_weights_only=True saves neither optimizer nor schedule",
        twin={
            "train.py": [
                (
                    'ModelCheckpoint(filename="last", **where)',
                    'ModelCheckpoint(filename="last", save_weights_only=True, **where)',
                )
            ]
        },
    ),
    Mistake(
        "the module inside DistributedDataParallel called",
        {"train.py": [('replica("training_step", ', "module.training_step(")]},
        "gradients-unsynchronised", 1,
        IMPOSSIBLE, "the Trainer calls every step through the wrapper",
        options={"devices": 2},
    ),
    Mistake(
        "metrics of the first process only",
        ALONE, "reported", 5,
        TRAP, "self.log of a number is that of the first process without sync_dist=True",
        options={"devices": 2},
        twin=ALONE,
    ),
    Mistake(
        "evaluation padded to divide among processes",
        {
            "data.py": [
                (
                    VAL_LOADER,
                    "        from torch.utils.data import DistributedSampler\n\n"
                    '        split = self.splits["val"]\n'
                    "        sampler = DistributedSampler(split, shuffle=False)\n"
                    "        return DataLoader(split, 128, sampler=sampler, "
                    "collate_fn=data.collate)\n",
                )
            ],
            # The figure of what was mistaken would stop at the samples that are there twice.
            "module.py": [("if self.val_probabilities and", "if False and")],
        },
        "reported", 5,
        TRAP, "the sampler it puts into a loader pads: some samples count twice",
        options={"devices": 2},
        right={"data.py": [(LOAD, LOAD + CUT)]},
        side="lightning",
    ),
    Mistake(
        "log_every_n_steps=50 on a short run",
        {"train.py": [("log_every_n_steps=config.log_every_n_steps", "log_every_n_steps=50")]},
        "reported-missing", 5,
        TRAP, "its default: a run of fewer steps than that shows no training loss",
        options={"log_every_n_steps": 5, "max_epochs": 3},
        side="lightning",
    ),
    Mistake(
        "save_last=True beside a monitored best",
        {
            "train.py": [
                ('filename="best", **where', 'filename="best", save_last=True, **where'),
                ('        ModelCheckpoint(filename="last", **where),\n', ""),
            ]
        },
        "saved-when", 20,
        TRAP, "last.ckpt is written only when best.ckpt is, and grows stale",
        options={"lr": 0.3, "max_epochs": 4},
        side="lightning",
    ),
]  # fmt: skip


def twins() -> list[Mistake]:
    """The mistakes that Lightning leaves possible, made on the Lightning side."""
    return [
        dataclasses.replace(m, wrong=m.twin, right={}, twin={}, side="lightning")
        for m in MISTAKES
        if m.twin
    ]


def changed(side: str, *edits: Edits) -> dict[str, str]:
    """The source of the files of a side that the edits change, by name. Of two edits of the same
    text, the later one holds.

    Raises:
        ValueError: the text to replace is not there as often as it should be.
    """
    sources: dict[str, str] = {}
    for name in dict.fromkeys(name for edit in edits for name in edit):
        latest = {old: (new, *times) for edit in edits for old, new, *times in edit.get(name, [])}
        source = (ROOT / side / name).read_text()
        for old, (new, *times) in latest.items():
            if source.count(old) != (times[0] if times else 1):
                raise ValueError(f"{side}/{name}: {source.count(old)} times {old!r}")
            source = source.replace(old, new)
        sources[name] = source
    return sources


def copy_with(sources: dict[str, str], side: str, folder: Path) -> None:
    """A copy of the programs in `folder`, with changed files on one side."""
    for name in ("raw_pytorch", "lightning", "shared"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, source in sources.items():
        (folder / side / name).write_text(source)


def train(mistake: Mistake, edits: tuple[Edits, ...], folder: Path) -> tuple[Run, dict[str, Any]]:
    """Train a changed copy with the recorder looking on.

    Raises:
        RunError: the program failed.
    """
    folder.mkdir(parents=True)
    copy_with(changed(mistake.side, *edits), mistake.side, folder)
    options = {**OPTIONS, **mistake.options, "run_dir": "run"}
    flags = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    program = ["-m", mistake.side, "train", *flags, "--progress_bar", "false"]
    path = folder / "record.jsonl"
    processes = options.get("devices", 1)
    launcher = ["torchrun", "--standalone", f"--nproc_per_node={processes}"]
    command = Command(launcher if processes > 1 else ["python"], program)
    recorded, how = record(command, path, 10**6, 300, folder)
    if how != "finished":
        log = path.with_suffix(".log").read_text().splitlines()
        last = [line for line in log if line.startswith("error: ")] or log[-1:]
        raise RunError(f"{mistake.name}: the program {how}: {' '.join(last[:1])}")
    return recorded, json.loads((folder / "run" / "summary.json").read_text())


def curves(recorded: Run) -> dict[str, list[float]]:
    """Loss of every training step, and what was reported after each epoch."""
    found: dict[str, list[float]] = {
        "train/loss": [s.backwards[-1]["loss"]["values"][0] for s in recorded.steps if s.backwards]
    }
    for events in recorded.numbers.values():
        for event in events:
            if event["tag"] in ("val/loss", "val/accuracy", "val/f1"):
                found.setdefault(event["tag"], []).append(event["value"])
    return found


def look_at(mistake: Mistake, folder: Path, done: dict[str, tuple[Run, dict]]) -> dict[str, Any]:
    """One row of the gallery: what a reader would see, and what the instrument says."""
    from shared.divergence.differences import compare

    key = json.dumps([mistake.side, mistake.options, mistake.right])
    if key not in done:
        done[key] = train(mistake, (mistake.right,), folder / f"right-{len(done)}")
    right, right_summary = done[key]
    place = Path(tempfile.mkdtemp(dir=folder)) / "wrong"
    wrong, wrong_summary = train(mistake, (mistake.right, mistake.wrong), place)
    found = compare(wrong, right).finding
    lines, _ = report(wrong, right, ("finished", "finished"))
    text = "\n".join(lines).replace(f"{place}/", "").replace(f"{folder}/", "")
    source = {"mistake": mistake.name, "side": mistake.side}
    keys = ("val_accuracy", "test_accuracy", "val_loss", "test_loss")
    return {
        **source,
        "options": mistake.options,
        "edits": [
            {"file": f"{mistake.side}/{name}", "before": old, "after": new}
            for name, edits in mistake.wrong.items()
            for old, new, *_ in edits
        ],
        "with": {k: wrong_summary[k] for k in keys} | {"curves": curves(wrong)},
        "without": {k: right_summary[k] for k in keys} | {"curves": curves(right)},
        "expected": {"cause": mistake.cause, "step": mistake.step},
        "found": {"cause": found.cause, "step": found.step} if found else None,
        "instrument": text,
        "verdict": mistake.verdict,
        "lightning": mistake.lightning,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The gallery as a short table in Markdown."""
    from shared.divergence.causes import cause_of

    lines = [
        "| mistake | test accuracy with | without | the instrument says | with Lightning |",
        "| --- | ---: | ---: | --- | --- |",
    ]
    for row in rows:
        if row["twin"]:
            continue
        said = row["found"]
        title = f"step {said['step']}: {cause_of(said['cause']).title}" if said else "nothing"
        lines.append(
            f"| {row['mistake']} | {row['with']['test_accuracy']:.2%} "
            f"| {row['without']['test_accuracy']:.2%} | {title} | {row['verdict']} |"
        )
    return "\n".join(lines)


def gallery(only: str = "") -> int:
    rows, missed = [], []
    done: dict[str, tuple[Run, dict]] = {}
    chosen = [(m, False) for m in MISTAKES] + [(m, True) for m in twins()]
    with tempfile.TemporaryDirectory() as name:
        for mistake, is_twin in chosen:
            if only not in mistake.name:
                continue
            row = {**look_at(mistake, Path(name), done), "twin": is_twin}
            rows.append(row)
            said = row["found"] or {"cause": "nothing", "step": 0}
            if said != row["expected"]:
                missed.append(mistake.name)
            accuracies = [row[k]["test_accuracy"] for k in ("with", "without")]
            side = "lightning" if mistake.side == "lightning" else "raw"
            print(
                f"{mistake.name[:44]:44} {side:9} {accuracies[0]:.1%} {accuracies[1]:.1%}  "
                f"step {said['step']}",
                flush=True,
            )
            print(f"    {said['cause']}" + (" NOT AS EXPECTED" if mistake.name in missed else ""))
    path = RUNS / "mistakes" / "mistakes.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps({"rows": rows, "table": table(rows)}, indent=1) + "\n")
    print(f"\nwritten {path}")
    if missed:
        fail(f"not found as expected: {', '.join(missed)}", 1)
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m shared.mistakes.gallery", description=__doc__)
    parser.add_argument("--only", default="", help="only mistakes with this in their name")
    args = parser.parse_args()
    run(lambda: gallery(args.only))


if __name__ == "__main__":
    main()
