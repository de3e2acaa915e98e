"""Changes of the programs in which a step has several calls of a model, of a loss or of an
optimizer, or draws what it learns from. Each was judged before the tool was asked."""

from __future__ import annotations

from support.divergence.change import Pair

LOSSES = "lam * F.cross_entropy(out, by) + (1 - lam) * F.cross_entropy(out, by[other])"

TWO_OPTIMIZERS = (
    Pair("all gradients cleared for each of two optimizers", "opt_a.zero_grad()",
         "net.zero_grad()", also=("opt_b.zero_grad()", "net.zero_grad()")),
    Pair("the second of two optimizers for all parameters", "SGD(net.reg.parameters()",
         "SGD(net.parameters()", ("optimizer-groups",), "SGD("),
    Pair("the second of two optimizers never cleared", "        opt_b.zero_grad()\n", "",
         ("zero_grad-forgotten",), "loss_b.backward()"),
    Pair("another rate of the second of two optimizers", "lr=0.05", "lr=0.02",
         ("optimizer-lr",), "SGD("),
    Pair("one forward pass for two losses",
         "loss_a.backward()\n        opt_a.step()\n        _, pred = net(bx)\n",
         "loss_a.backward(retain_graph=True)\n        opt_a.step()\n",
         ("forward-more",), also=("recon, _ =", "recon, pred =")),
)  # fmt: skip

SHARPNESS = (
    Pair("weights not put back", "p.sub_(e)", "pass", ("touched",), "p.sub_(e)"),
    Pair("a longer way to where the loss is sharper", "rho = 0.05", "rho = 0.1",
         ("stepped-hand",)),
    Pair("gradients of the first pass kept",
         "steps.append(e)\n        opt.zero_grad()\n", "steps.append(e)\n",
         ("zero_grad-forgotten",)),
)  # fmt: skip

MIXED = (
    Pair("two losses, in another order", LOSSES,
         "torch.lerp(F.cross_entropy(out, by[other]), F.cross_entropy(out, by), lam)"),
    Pair("the parts of two losses exchanged", LOSSES,
         "(1 - lam) * F.cross_entropy(out, by) + lam * F.cross_entropy(out, by[other])",
         ("loss-argument",), "cross_entropy"),
    Pair("another part of each picture", "alpha = 0.4", "alpha = 1.0", ("batch-values",),
         "lam * bx"),
)  # fmt: skip

NOISED = (
    Pair("noise that grows faster", "0.02, T)", "0.03, T)", ("batch-values",), "linspace"),
    Pair("noise drawn before the time", "        t = torch.randint(0, T, (len(x),))\n", "",
         ("batch-values",), also=("        a = bars", "        t = torch.randint(0, T, (len(x),))\n"
                                  "        a = bars")),
    Pair("points in place of noise for targets", "t), noise)", "t), x)", ("batch-target",)),
    Pair("an average that nothing uses, over less", "mul_(0.99).add_(v, alpha=0.01)",
         "mul_(0.9).add_(v, alpha=0.1)"),
)  # fmt: skip

VIEWS = (
    Pair("another second view", "> 0.2", "> 0.3", ("batch-values",), "net(two)"),
    Pair("both views in one call", "nt_xent(net(one), net(two))",
         "nt_xent(*net(torch.cat([one, two])).chunk(2))", ("batch-calls",), "nt_xent("),
    Pair("one view detached", "net(two))", "net(two).detach())", ("gradients",)),
    Pair("another temperature", "tau=0.5", "tau=0.1", ("loss-argument",), "/ tau"),
)  # fmt: skip

BY_HAND = (
    Pair("an optimizer for what was written by hand",
         "    with torch.no_grad():\n        for param in model.parameters():\n"
         "            param -= learning_rate * param.grad\n",
         "    torch.optim.SGD(model.parameters(), lr=learning_rate).step()\n", by_kernels=True),
)  # fmt: skip

BY_SEVERAL = (
    *(pair._replace(program="two_optimizers") for pair in TWO_OPTIMIZERS),
    *(pair._replace(program="sharpness") for pair in SHARPNESS),
    *(pair._replace(program="mixed") for pair in MIXED),
    *(pair._replace(program="noised") for pair in NOISED),
    *(pair._replace(program="views") for pair in VIEWS),
    *(pair._replace(program="by_hand") for pair in BY_HAND),
)
