"""Pairs of programs for the divergence tool: one program, and the same with one change.

python -m support.pairs        writes the table in shared/divergence/README.md anew
"""

from __future__ import annotations

import contextlib
import io
import linecache
import os
import re
import runpy
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from shared.divergence.comparing.differences import Comparison, compare
from shared.divergence.recording.recorder import Enough, Recorder
from shared.divergence.records import Run, read
from shared.processes import ROOT

README = ROOT / "shared" / "divergence" / "README.md"
BEGIN, END = "<!-- kinds -->", "<!-- /kinds -->"

BASE = """\
import random
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
np.random.seed(0)
random.seed(0)
drawn = torch.Generator().manual_seed(7)
points = torch.randn(36, 6, generator=drawn)
labels = (points @ torch.randn(6, 3, generator=drawn)).argmax(1)
points = (points - 0.1) / 1.5


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.norm = nn.LayerNorm(8)
        self.bn = nn.BatchNorm1d(8)
        self.act = nn.LeakyReLU(0.1)
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.bn(self.norm(self.first(x)))
        x = self.drop(self.act(x))
        x = F.dropout(x, 0.1, self.training)
        return self.head(x)


model = Net()
order = torch.Generator().manual_seed(1)
data = TensorDataset(points, labels)
loader = DataLoader(data, batch_size=8, shuffle=True, generator=order)
held = TensorDataset(points[:20], labels[:20])
val = DataLoader(held, batch_size=8, generator=torch.Generator().manual_seed(2))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.01)
schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5)
for epoch in range(2):
    model.train()
    for x, y in loader:
        optimizer.zero_grad()
        out = model(x)
        loss = F.cross_entropy(out, y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.eval()
    total = right = 0
    with torch.no_grad():
        for x, y in val:
            out = model(x)
            total += F.cross_entropy(out, y).item() * len(y)
            right += (out.argmax(1) == y).sum().item()
    print("val_loss", total / 20, "val_acc", right / 20)
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, "last.pt")
"""


class Pair(NamedTuple):
    """What is changed, and the causes that may be named. `line` is in one of the lines shown;
    without a cause the pair is equal."""

    kind: str
    before: str
    after: str
    causes: tuple[str, ...] = ()
    line: str = ""


STEP = "        optimizer.step()\n"
LOSS = "loss = F.cross_entropy(out, y)\n"
MADE = "model = Net()\n"
THREAD = """\
import threading
thread = threading.Thread(target=lambda: torch.ones(3).sum())
thread.start()
thread.join()
"""

DIFFERENT = (
    Pair("eps of layer norm", "LayerNorm(8)", "LayerNorm(8, eps=1e-6)", ("setting",), "LayerNorm("),
    Pair("eps of batch norm", "BatchNorm1d(8)", "BatchNorm1d(8, eps=1e-4)",
         ("setting",), "BatchNorm"),
    Pair("momentum of batch norm", "BatchNorm1d(8)", "BatchNorm1d(8, momentum=0.2)",
         ("setting",), "Batch"),
    Pair("slope of an activation", "LeakyReLU(0.1)", "LeakyReLU(0.11)", ("setting",), "LeakyReLU"),
    Pair("p of a dropout layer", "Dropout(0.1)", "Dropout(0.2)", ("setting",), "Dropout"),
    Pair("p of a dropout call", "F.dropout(x, 0.1", "F.dropout(x, 0.15",
         ("forward-random",), "0.15"),
    Pair("another activation", "LeakyReLU(0.1)", "GELU()", ("forward-call",), "self.act"),
    Pair("a call more in the model", "return self.head(x)", "return self.head(x) * 1.01",
         ("forward-more",), "1.01"),
    Pair("a layer left out", "self.bn(self.norm(self.first(x)))", "self.bn(self.first(x))",
         ("forward-more", "forward-call"), "self.first"),
    Pair("another seed", "torch.manual_seed(0)", "torch.manual_seed(1)", ("weights-seed",), ""),
    Pair("layers made in another order", "        self.first = nn.Linear(6, 8)\n",
         "        nn.Linear(2, 2)\n        self.first = nn.Linear(6, 8)\n", ("weights",), ""),
    Pair("weights of another dtype", MADE, "model = Net().double()\npoints = points.double()\n",
         ("weights-dtype",), ""),
    Pair("a layer in a plain list", "self.head = nn.Linear(8, 3)", "self.heads = [nn.Linear(8, 3)]",
         ("weights-missing",), ""),
    Pair("another width", "self.head = nn.Linear(8, 3)", "self.head = nn.Linear(8, 4)",
         ("weights-other",), ""),
    Pair("other constants of normalisation", "(points - 0.1) / 1.5", "(points - 0.2) / 1.4",
         ("batch-normalised",), ""),
    Pair("noise on the points", "(points - 0.1) / 1.5", "(points - 0.1) / 1.5 + points.abs() * 0.1",
         ("batch-values",), ""),
    Pair("another order of the data", "manual_seed(1)\ndata", "manual_seed(3)\ndata",
         ("batch-shuffle",), "model(x)"),
    Pair("another batch size", "batch_size=8, shuffle", "batch_size=6, shuffle",
         ("batch-size",), ""),
    Pair("other labels", ".argmax(1)\npoints", ".argmin(1)\npoints",
         ("batch-target",), "cross_entropy"),
    Pair("train() forgotten", "    model.train()\n", "", ("mode",), "model(x)"),
    Pair("frozen batch norm", "    model.train()\n", "    model.train()\n    model.bn.eval()\n",
         ("mode-some",), "model(x)"),
    Pair("seeded again", MADE, MADE + "torch.manual_seed(5)\n", ("generator-seed",), "seed(5)"),
    Pair("a number more is drawn", MADE, MADE + "torch.rand(1)\n", ("generator",), "model(x)"),
    Pair("label smoothing", "F.cross_entropy(out, y)\n",
         "F.cross_entropy(out, y, label_smoothing=0.1)\n",
         ("loss-function",), "label_smoothing"),
    Pair("weights of classes",
         LOSS, "loss = F.cross_entropy(out, y, torch.tensor([1.0, 2.0, 1.0]))\n",
         ("loss-function",), "2.0"),
    Pair("the loss summed", LOSS, 'loss = F.cross_entropy(out, y, reduction="sum")\n',
         ("loss-reduction",), "sum"),
    Pair("the loss times 1.03", LOSS, LOSS + "        loss = loss * 1.03\n",
         ("loss-more",), "1.03"),
    Pair("an L2 penalty",
         LOSS, LOSS + "        loss = loss + 1e-4 * model.head.weight.pow(2).sum()\n",
         ("loss-more",), "pow(2)"),
    Pair("a tiny L2 penalty", LOSS,
         LOSS + "        loss = loss + 1e-6 * model.head.weight.pow(2).sum()\n",
         ("loss-more",), "pow(2)"),
    Pair("softmax before cross entropy", LOSS, "loss = F.cross_entropy(out.softmax(1), y)\n",
         ("loss-softmax",), "softmax"),
    Pair("another loss", LOSS, "loss = F.multi_margin_loss(out, y)\n",
         ("loss-function",), "margin"),
    Pair("zero_grad forgotten", "        optimizer.zero_grad()\n", "",
         ("zero_grad-forgotten",), "backward"),
    Pair("a hook on a gradient", MADE,
         MADE + "model.head.weight.register_hook(lambda g: g * 1.00001)\n", ("hook",), "backward"),
    Pair("a frozen parameter", MADE, MADE + "model.norm.bias.requires_grad = False\n",
         ("frozen", "gradients-missing"), "backward"),
    Pair("a detached part", "self.drop(self.act(x))", "self.drop(self.act(x.detach()))",
         ("gradients-missing",), "backward"),
    Pair("gradients written by hand", STEP, "        model.head.bias.grad.mul_(0.5)\n" + STEP,
         ("touched-gradient",), "mul_"),
    Pair("clipping left out", "        nn.utils.clip_grad_norm_(model.parameters(), 1.0)\n", "",
         ("clip-missing",), "clip"),
    Pair("another limit", "model.parameters(), 1.0)", "model.parameters(), max_norm=0.1)",
         ("clip-limit",), "max_norm"),
    Pair("clipped by value", "clip_grad_norm_(model.parameters(), 1.0)",
         "clip_grad_value_(model.parameters(), clip_value=1.0)", ("clip-limit",), "clip_value"),
    Pair("another learning rate", "lr=0.01", "lr=0.02", ("optimizer-lr",), "0.02"),
    Pair("another weight decay", "weight_decay=0.01", "weight_decay=0.02",
         ("optimizer-option",), "0.02"),
    Pair("other betas", "weight_decay=0.01)", "weight_decay=0.01, betas=(0.9, 0.99))",
         ("optimizer-option",), "0.99"),
    Pair("another optimizer", "optim.AdamW", "optim.Adam", ("optimizer-class",), "optim.Adam("),
    Pair("no decay of biases", "AdamW(model.parameters(), lr=0.01, weight_decay=0.01)",
         "AdamW([{'params': [p for p in model.parameters() if p.ndim > 1]}, {'params': [p for p in "
         "model.parameters() if p.ndim < 2], 'weight_decay': 0}], lr=0.01, weight_decay=0.01)",
         ("optimizer-groups",), "ndim"),
    Pair("a parameter left out", "AdamW(model.parameters()", "AdamW(list(model.parameters())[:-1]",
         ("optimizer-missing",), "[:-1]"),
    Pair("the schedule forgotten", "        schedule.step()\n", "", ("schedule-still",), "StepLR"),
    Pair("another schedule", "StepLR(optimizer, 3, 0.5)", "StepLR(optimizer, 3, 0.4)",
         ("schedule",), "0.4"),
    Pair("weights clamped after the step", STEP,
         STEP + "        with torch.no_grad():\n            model.head.weight.clamp_(-0.1, 0.1)\n",
         ("touched",), "clamp_"),
    Pair("weights changed through .data", STEP, STEP + "        model.head.bias.data.mul_(0.99)\n",
         ("touched",), "mul_"),
    Pair("a step less", "for epoch in range(2)", "for epoch in range(1)", ("steps",), ""),
    Pair("eval() forgotten", "    model.eval()\n", "", ("evaluation-mode",), "model(x)"),
    Pair("no_grad() forgotten", "torch.no_grad()", "torch.enable_grad()",
         ("evaluation-grad",), "model(x)"),
    Pair("other data evaluated", "points[:20], labels[:20]", "points[4:24], labels[4:24]",
         ("evaluation-batch",), "model(x)"),
    Pair("fewer data evaluated", "batch_size=8, generator=torch",
         "batch_size=8, drop_last=True, generator=torch",
         ("evaluation-batches",), ""),
    Pair("means of batches averaged", "* len(y)", "* 20 / 3", ("evaluation-mean",), "print"),
    Pair("a count never reset", "    total = right = 0\n",
         "    total = 0\n    right = right if epoch else 0\n",
         ("reported",), "print"),
    Pair("saved without the optimizer", ', "optimizer": optimizer.state_dict()', "",
         ("saved-optimizer",), "torch.save"),
)  # fmt: skip

WITNESSED = (
    Pair("a fused optimizer", "weight_decay=0.01)", "weight_decay=0.01, fused=True)"),
    Pair("an optimizer over each tensor", "weight_decay=0.01)", "weight_decay=0.01, foreach=True)"),
    Pair("a product written out", "self.norm(self.first(x))",
         "self.norm(x @ self.first.weight.T + self.first.bias)"),
)  # fmt: skip

EQUAL = (
    Pair("the same program", "", ""),
    Pair("a loss module for the function", LOSS, "loss = nn.CrossEntropyLoss()(out, y)\n"),
    Pair("settings written out", "LayerNorm(8)", "LayerNorm(8, eps=1e-5)"),
    Pair("arguments by name", "F.cross_entropy(out, y)\n",
         "F.cross_entropy(input=out, target=y)\n"),
    Pair("clipping by name", "model.parameters(), 1.0)",
         "parameters=model.parameters(), max_norm=1.0)"),
    Pair("backward by the function", "loss.backward()", "torch.autograd.backward(tensors=loss)"),
    Pair("saved by name", ', "last.pt")', ', f="last.pt")'),
    Pair("gradients zeroed, not removed", "zero_grad()", "zero_grad(set_to_none=True)"),
    Pair("zeroed at the end of the step", "        schedule.step()\n",
         "        schedule.step()\n        model.zero_grad()\n"),
    Pair("a number printed more", "    print(", "    print('epoch', epoch)\n    print("),
    Pair("accuracy in training",
         STEP, STEP + "        (out.argmax(1) == y).float().mean().item()\n"),
    Pair("a list of parameters", "(model.parameters(), lr", "(list(model.parameters()), lr"),
    Pair("one group written out", "AdamW(model.parameters(), lr",
         "AdamW([{'params': model.parameters()}], lr"),
    Pair("another seed of numpy", "np.random.seed(0)", "np.random.seed(1)"),
    Pair("another seed of random", "random.seed(0)\ndrawn", "random.seed(1)\ndrawn"),
    Pair("a view for flatten", "return self.head(x)", "return self.head(x.view(len(x), -1))"),
    Pair("layers in a sequence", "x = self.drop(self.act(x))",
         "x = nn.Sequential(self.act, self.drop)(x)"),
    Pair("a tensor that nothing uses", "        self.act =",
         "        self.unused = 3\n        self.act ="),
    Pair("inference mode", "torch.no_grad()", "torch.inference_mode()"),
    Pair("a fake tensor beside it", MADE,
         MADE + "from torch._subclasses.fake_tensor import FakeTensorMode\nwith FakeTensorMode():\n"
         "    nn.Linear(2, 2)(torch.ones(1, 2))\n"),
    Pair("a meta tensor beside it",
         MADE, MADE + "nn.Linear(2, 2, device='meta')(torch.ones(1, 2, device='meta'))\n"),
    Pair("torch.func beside it",
         MADE, MADE + "torch.func.grad(lambda v: F.mse_loss(v, v * 2))(torch.ones(3))\n"),
    Pair("vmap beside it", MADE, MADE + "torch.func.vmap(model.head)(torch.ones(2, 8))\n"),
    Pair("sparse tensors beside it", MADE, MADE + "torch.eye(3).to_sparse() @ torch.ones(3, 3)\n"),
    Pair("complex tensors beside it", MADE, MADE + "torch.fft.fft(torch.ones(4)).abs()\n"),
    Pair("a quantized tensor beside it", MADE,
         MADE + "torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8).dequantize()\n"),
    Pair("an enclosing function", "loss = F",
         "grab = torch.overrides.resolve_name\n        loss = F"),
    Pair("a checkpointed part", "x = self.drop(self.act(x))",
         "x = self.drop(torch.utils.checkpoint.checkpoint(self.act, x, use_reentrant=False))"),
    Pair("a hook that only looks", LOSS, LOSS + "        out.register_hook(lambda g: None)\n"),
    Pair("a copy of the model", MADE, MADE + "import copy\ncopy.deepcopy(model)\n"),
    Pair("a model that is not used", MADE,
         "model = Net()\nstate = torch.get_rng_state()\nNet()\ntorch.set_rng_state(state)\n"),
    Pair("weights loaded from itself", MADE, MADE + "model.load_state_dict(model.state_dict())\n"),
    Pair("a generator that nothing draws from", MADE, MADE + "torch.Generator().manual_seed(9)\n"),
    Pair("a worker thread", MADE, MADE + THREAD),
    Pair("a checksum of the weights",
         STEP, STEP + "        sum(p.sum().item() for p in model.parameters())\n"),
    Pair("the loss kept as a number", STEP, STEP + "        float(loss.detach())\n"),
    Pair("a property of the optimizer", STEP, STEP + "        optimizer.param_groups[0]['lr']\n"),
    Pair("written to a file", "    torch.save(",
         "    open('log.txt', 'a').write('x')\n    torch.save("),
    Pair("a closure", STEP, "        optimizer.step(lambda: loss)\n"),
    Pair("cast to its own dtype", "out = model(x)\n        loss",
         "out = model(x.float())\n        loss"),
    Pair("moved to its own device", MADE, "model = Net().to('cpu')\n"),
)  # fmt: skip


def source(pair: Pair) -> str:
    """
    Raises:
        ValueError: what is to be changed is not there.
    """
    if pair.before not in BASE:
        raise ValueError(f"{pair.kind}: {pair.before!r} is not in the program")
    changed = BASE.replace(pair.before, pair.after, 1) if pair.before else BASE
    if pair.kind == "a layer in a plain list":
        changed = changed.replace("self.head(x)", "self.heads[0](x)")
    return changed


def recorded(text: str, folder: Path, name: str) -> Run:
    """What a program does, run in this process as its own file in `folder`."""
    path = folder / f"{name}.py"
    path.write_text(text)
    linecache.checkcache()
    with contextlib.suppress(Enough), Recorder(folder / f"{name}.jsonl", 20):
        runpy.run_path(str(path), run_name="__main__")
    return read(folder / f"{name}.jsonl")


def outcome(pair: Pair, folder: Path, base: Run) -> tuple[str, Comparison, Run]:
    """What the tool says of a pair: "right", "wrong" or "silent"."""
    run = recorded(source(pair), folder, "b")
    result = compare(base, run)
    found = result.finding
    if not pair.causes:
        return ("right" if found is None else "wrong"), result, run
    if found is None:
        return "silent" if not result.rounding else "wrong", result, run
    shown = [linecache.getline(file, number) for side in found.where for file, number, _ in side]
    is_shown = not pair.line or any(pair.line in text for text in shown)
    return "right" if found.cause in pair.causes and is_shown else "wrong", result, run


def table(folder: Path) -> list[tuple[str, str, str]]:
    """Kind, what was named, and whether that is right, of all pairs."""
    base = recorded(BASE, folder, "a")
    rows = []
    for pair in (*DIFFERENT, *WITNESSED, *EQUAL):
        verdict, result, _ = outcome(pair, folder, base)
        named = (
            result.finding.cause if result.finding else "rounding" if result.rounding else "equal"
        )
        rows.append((pair.kind, named, verdict))
    return rows


def written(rows: list[tuple[str, str, str]]) -> str:
    count = sum(verdict == "right" for _, _, verdict in rows)
    lines = [
        f"{count} of {len(rows)} right.",
        "",
        "| one change | named | |",
        "| --- | --- | --- |",
    ]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


@contextlib.contextmanager
def _in(folder: str) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        _in(folder),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        rows = table(Path(folder).resolve())
    text = README.read_text()
    new = re.sub(f"{BEGIN}.*{END}", f"{BEGIN}\n{written(rows)}\n{END}", text, flags=re.DOTALL)
    README.write_text(new)
    print(*[row for row in rows if row[2] != "right"], sep="\n", file=sys.stderr)


if __name__ == "__main__":
    main()
