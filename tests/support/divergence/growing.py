"""Changes of sources/updates/steady.py and unsteady.py: roundings that grow, and beside them
changes that nothing on record shows, made to the memory of a tensor by way of numpy."""

from __future__ import annotations

from support.divergence.change import Pair

FUSED = ("lr=0.003)", "lr=0.003, fused=True)")
IN_HALVES = (
    "self.first(x)",
    "x[:, :6] @ self.first.weight[:, :6].T + x[:, 6:] @ self.first.weight[:, 6:].T + "
    "self.first.bias",
)
FUSED_SGD = ("momentum=0.9)", "momentum=0.9, fused=True)")
LOSS = "    loss = F.cross_entropy(out, y)\n"
STEP = "    opt.step()\n"
HEAD = "model.last.weight.grad.numpy()[:]"
ALL = "    for p in model.parameters():\n        p.grad.numpy()[:] *= "
HOOK = "    out.register_hook(lambda g: g * "

STEADY = (
    Pair("a fused optimizer", *FUSED, by_kernels=True),
    Pair("a product in halves", *IN_HALVES),
    Pair("a product in halves, and a fused optimizer", *IN_HALVES, also=FUSED, by_kernels=True),
    Pair("gradients larger by a hundred-thousandth", LOSS, LOSS + HOOK + "1.00001)\n",
         ("gradients",), also=IN_HALVES),
    Pair("gradients larger by a thousandth from step 8", STEP,
         ALL + "1.001 if step > 6 else 1\n" + STEP, ("clipped-grown",), also=FUSED),
    Pair("gradients larger by 1e-5 from step 8", LOSS,
         LOSS + HOOK + "1.00001 if step > 6 else g)\n", ("gradients-grown",), also=FUSED),
    Pair("gradients of one layer larger from step 8", STEP,
         f"    {HEAD} *= 1.0001 if step > 6 else 1\n" + STEP, ("clipped-grown",), also=FUSED),
    Pair("noise of 3e-7 on the points from step 8", "    opt.zero_grad()\n",
         "    x = x + 3e-7 * x.roll(1, 0) if step > 6 else x\n    opt.zero_grad()\n",
         ("batch-values",), also=FUSED),
    Pair("outputs changed in place from step 8", "    out = model(x)\n    loss",
         "    out = model(x)\n    out.detach().numpy()[:] *= 1.0001 if step > 6 else 1\n    loss",
         ("loss-grown",), also=FUSED),
    Pair("a state of the optimizer changed at step 8", STEP,
         STEP + "    if step == 7:\n"
         "        opt.state[model.last.weight]['exp_avg'].numpy()[:] *= 1.001\n",
         ("stepped-grown", "loss-grown", "gradients-grown"), also=FUSED),
    Pair("outputs of the evaluation changed", "    out = model(X)\n",
         "    out = model(X)\n    out.numpy()[:] *= 1.0001\n", ("evaluation-grown",), also=FUSED),
    Pair("a loss reported otherwise", "cross_entropy(out, Y).item()",
         "cross_entropy(out, Y).item() * 1.0001", ("reported",), "print", also=FUSED),
)  # fmt: skip

UNSTEADY = (
    Pair("a fused optimizer", *FUSED_SGD, by_kernels=True),
    Pair("a product in halves", *IN_HALVES, is_blind=True),
    Pair("gradients larger by a thousandth from step 8", LOSS,
         LOSS + HOOK + "1.001 if step > 6 else g)\n", ("gradients-grown",), also=FUSED_SGD),
)  # fmt: skip

ONE = (
    Pair("fused, and gradients larger by a thousandth from the second epoch", "loss = F.cross",
         "out.register_hook(lambda g: g * 1.001 if epoch else g)\n        loss = F.cross",
         ("gradients", "gradients-grown"), by_kernels=True,
         also=("weight_decay=0.01)", "weight_decay=0.01, fused=True)")),
)  # fmt: skip

GROWING = (
    *ONE,
    *(pair._replace(program="steady") for pair in STEADY),
    *(pair._replace(program="unsteady") for pair in UNSTEADY),
)
