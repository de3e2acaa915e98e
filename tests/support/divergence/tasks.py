"""Changes of sources/tasks.py and closures.py, each judged from the program before the tool was
asked."""

from __future__ import annotations

from support.divergence.change import Pair

SEED = "    np.random.seed(s)\n"
STEP = "        optimizer.step()\n"
TOTAL = "ce(logits, ta) + 0.3 * mse(pred, tb)"
LAYERS = "nn.Linear(12, hidden), nn.BatchNorm1d(hidden)"
HEADS = '{"cls": nn.Linear(hidden, 2), "reg": nn.Linear(hidden, 1)}'
CLEARED = "        for p in net.parameters():\n            p.grad = None\n"
DROPPED = ("z = self.trunk(inp)", "z = nn.functional.dropout(self.trunk(inp), 0.25)")
IN_TRAINING = (DROPPED[0], DROPPED[1].replace("0.25", "0.25, self.training"))
FITTED = "F.mse_loss(net(X), y)"

TASKS = (
    Pair("another weight of a task", "+ 0.3 * mse(pred", "+ 0.5 * mse(pred", ("loss-argument",),
         "0.5"),
    Pair("a task left out", " + 0.3 * mse(pred, tb)", "", ("loss-more",), "total ="),
    Pair("another seed of numpy", SEED, "    np.random.seed(s + 1)\n", ("batch-shuffle",)),
    Pair("no seed of numpy", SEED, "", ("generator-unseeded",)),
    Pair("another alpha of RMSprop", "alpha=0.95, ", "", ("optimizer-option",), "RMSprop"),
    Pair("a centered RMSprop", "momentum=0.5", "momentum=0.5, centered=True",
         ("optimizer-option",), "centered"),
    Pair("a patience that changes nothing", "patience=0", "patience=1"),
    Pair("the schedule waits for the training loss", "plateau.step(val)",
         "plateau.step(running / 64)", ("schedule",), "ReduceLROnPlateau"),
    Pair("a threshold of the schedule", "patience=0", "patience=0, threshold=0.9",
         ("schedule",), "threshold"),
    Pair("dropout as a call", ", nn.Dropout(p=0.25)", "", also=IN_TRAINING),
    Pair("dropout in evaluation too", ", nn.Dropout(p=0.25)", "",
         ("evaluation-call", "evaluation-more"), "dropout", also=DROPPED),
    Pair("another activation", "nn.SiLU()", 'nn.GELU(approximate="tanh")', ("forward-call",),
         "self.trunk"),
    Pair("batch norm before the layer", LAYERS, "nn.BatchNorm1d(12), nn.Linear(12, hidden)",
         ("weights-other",)),
    Pair("batch norm without statistics", "BatchNorm1d(hidden)",
         "BatchNorm1d(hidden, track_running_stats=False)", ("weights-other", "weights-missing")),
    Pair("a sum divided by the batches", "train={running / 64:.4f}", "train={running / 4:.4f}",
         ("reported",), "train="),
    Pair("a loss module that sums", "nn.MSELoss()", 'nn.MSELoss(reduction="sum")',
         ("loss-reduction",), "mse(pred"),
    Pair("targets broadcast against scores", "mse(pred, tb)", "mse(pred, tb.squeeze(1)[None])",
         ("loss-broadcast",), "squeeze"),
    Pair("layers in a plain dict", f"nn.ModuleDict({HEADS})", HEADS, ("weights-missing",)),
    Pair("a frozen head", "net = Shared()\n",
         'net = Shared()\nnet.heads["reg"].requires_grad_(False)\n', ("frozen",)),
    Pair("a head that the trunk does not see", 'self.heads["reg"](z)',
         'self.heads["reg"](z.detach())', ("gradients",)),
    Pair("gradients made smaller by hand", STEP,
         "        for p in net.parameters():\n            p.grad *= 0.9\n" + STEP,
         ("touched-gradient",), "p.grad *="),
    Pair("weights normalised by hand", STEP,
         STEP + "        with torch.no_grad():\n            net.heads['cls'].weight /= 2\n",
         ("touched",), "/= 2"),
    Pair("cleared by the optimizer", CLEARED, "        optimizer.zero_grad()\n"),
    Pair("terms in the other order", TOTAL, "0.3 * mse(pred, tb) + ce(logits, ta)"),
    Pair("a tensor made of numpy's copy", "x = torch.from_numpy(", "x = torch.tensor("),
    Pair("learning rates looked at", "    plateau.step(val)\n",
         "    plateau.step(val)\n    [g['lr'] for g in optimizer.param_groups]\n"),
    Pair("eval() forgotten", "    net.eval()\n", "", ("evaluation-mode",), "xs_va"),
    Pair("another batch of the validation", "xs_tr, xs_va = xs[:64], xs[64:]",
         "xs_tr, xs_va = xs[:64], xs[:26]", ("evaluation-batch",), "xs_va"),
)  # fmt: skip

WITNESSED_TASKS = (
    Pair("backward() for each task", "        total.backward()\n",
         "        ce(logits, ta).backward(retain_graph=True)\n"
         "        (0.3 * mse(pred, tb)).backward()\n"),
)  # fmt: skip

CLOSURES = (
    Pair("fewer iterations in a step", "max_iter=4", "max_iter=3", ("optimizer-option", "window"),
         "max_iter"),
    Pair("another history", "history_size=5", "history_size=3", ("optimizer-option",), "history"),
    Pair("no weight norm", "weight_norm(nn.Linear(1, 12))", "nn.Linear(1, 12)",
         ("weights-other", "weights-missing")),
    Pair("a penalty in the closure", FITTED, FITTED + " + 1e-3 * net[2].weight.pow(2).sum()",
         ("loss-more",), "pow(2)"),
    Pair("more noise on the targets", "0.1 * torch.randn", "0.2 * torch.randn", ("batch-target",)),
    Pair("a look at the model after the step", "    loss = opt.step(closure)\n",
         "    loss = opt.step(closure)\n    net(X).detach()\n"),
)  # fmt: skip

BY_TASKS = (
    *(pair._replace(program="tasks") for pair in (*TASKS, *WITNESSED_TASKS)),
    *(pair._replace(program="closures") for pair in CLOSURES),
)
