"""Changes for causes of which the other pairs have none, most of them of sources/one.py and
sources/orders/sampled.py, and what is near to them."""

from __future__ import annotations

from support.divergence.change import Pair
from support.divergence.one_program import LOSS, MADE, STEP

CLIP = "        nn.utils.clip_grad_norm_(model.parameters(), 1.0)\n"
CALLED = "out = model(x)\n        loss"
EVALUATED = "            out = model(x)\n            total"
OPTIMIZER = "lr=0.01, weight_decay=0.01)\n"
OLD_STATE = """\
old = optimizer.state_dict()
for i, p in enumerate(model.parameters()):
    moments = {"exp_avg": torch.full_like(p, 0.01), "exp_avg_sq": torch.full_like(p, 0.1)}
    old["state"][i] = {"step": torch.tensor(3.0), **moments}
torch.save(old, "old.pt")
optimizer.load_state_dict(torch.load("old.pt"))
"""
IN_LOADER = "    for x, y in loader:\n"
COUNTED = "    for _, (x, y) in zip(range(len(loader)), loader):\n"
SCORED = "out.view(-1, V), b[:, 1:].reshape(-1)"
CLASSES = """\
        out = self.fc(self.drop(self.body(x)))
        return out if self.training else out.argmax(-1)
"""
SAVED = '"model": model.state_dict()'

RARER = (
    Pair("no seed of torch", "torch.manual_seed(0)\n", "", ("weights-unseeded",)),
    Pair("weights from a file", MADE,
         MADE + "torch.save({k: v * 0.9 for k, v in model.state_dict().items()}, 'old.pt')\n"
         "model.load_state_dict(torch.load('old.pt'))\n", ("weights-loaded",)),
    Pair("points of another dtype", CALLED, CALLED.replace("(x)", "(x.double())"),
         ("batch-dtype",), "double", also=("        x = self.bn(",
                                           "        x = x.float()\n        x = self.bn(")),
    Pair("gradients twice as large", LOSS, LOSS + "        out.register_hook(lambda g: g * 2)\n",
         ("gradients-scaled",), "backward"),
    Pair("gradients changed in memory", CLIP,
         "        model.head.weight.grad.numpy()[:] *= 2\n" + CLIP, ("clipped",), "step()"),
    Pair("clipped twice", CLIP, CLIP + CLIP, ("clip-early",), "clip"),
    Pair("a state of the optimizer changed in memory", STEP,
         "        [s['exp_avg'].numpy().fill(0.1) for s in optimizer.state.values()]\n" + STEP,
         ("stepped",), "step()"),
    Pair("statistics changed in memory", STEP,
         "        model.bn.running_var.numpy()[:] *= 1.1\n" + STEP, ("buffers",)),
    Pair("outputs changed in memory", LOSS,
         "out.detach().numpy()[:] *= 1.1\n        " + LOSS, ("loss-input",), "cross_entropy"),
    Pair("outputs changed in memory by the model", "        return self.head(x)\n",
         "        x = self.head(x)\n        x.detach().numpy()[:] *= 1.1\n        return x\n",
         ("forward",), "model(x)"),
    Pair("outputs of the evaluation changed in memory", EVALUATED,
         EVALUATED.replace("total", "out.numpy()[:] *= 1.1\n            total"), ("evaluation",)),
    Pair("another slope in evaluation", "self.drop(self.act(x))",
         "self.drop(F.leaky_relu(x, 0.1 if self.training else 0.2))",
         ("evaluation-argument",), "0.2"),
    Pair("saved with the schedule", SAVED, '"schedule": schedule.state_dict(), ' + SAVED,
         ("saved-schedule",), "torch.save"),
    Pair("halved weights saved", SAVED,
         '"model": {k: v * 0.5 for k, v in model.state_dict().items()}',
         ("saved-weights",), "torch.save"),
    Pair("all gradients doubled in memory", CLIP,
         CLIP + "        for p in model.parameters():\n            p.grad.numpy()[:] *= 2\n",
         ("clipped-scaled",), "step()"),
    Pair("the loss changed in memory", LOSS,
         LOSS + "        loss.detach().numpy()[...] *= 1.1\n", ("loss",), "cross_entropy"),
    Pair("the loss made larger in place", LOSS, LOSS + "        loss *= 1.03\n",
         ("loss-more",), "1.03"),
    Pair("the loss made larger in place from the second epoch", LOSS,
         LOSS + "        loss *= 1.03 if epoch else 1.0\n", ("loss-more",), "1.03"),
    Pair("scores made smaller before the loss", LOSS, "loss = F.cross_entropy(out / 1.1, y)\n",
         ("loss-more", "loss-call"), "1.1"),
    Pair("a penalty added in place", LOSS,
         LOSS + "        loss += 1e-3 * model.head.weight.pow(2).sum()\n",
         ("loss-more",), "pow(2)"),
    Pair("a state of the optimizer from a file", OPTIMIZER, OPTIMIZER + OLD_STATE,
         ("stepped-state",), "step()"),
    Pair("names as a wrapper has them", SAVED,
         '"model": {"module." + k: v for k, v in model.state_dict().items()}',
         ("saved-names",), "torch.save"),
    Pair("images cropped", "self.x[i]", "self.x[i, :, 1:, 1:]", ("batch-shape",), "self.net(",
         "trainer"),
    Pair("classes given in evaluation", "        return self.fc(self.drop(self.body(x)))\n",
         CLASSES, ("evaluation-shape",), "self.net(", "trainer",
         also=(").argmax(-1)\n            hit", ")\n            hit")),
    Pair("absolute errors", ".pow(2)", ".abs()", ("loss-call",), "abs()", "by_hand"),
    Pair("dimensions named in another order", SCORED, "out.view(-1, V, L), b[:, 1:]",
         ("loss-argument",), "V, L", "scaled"),
    Pair("the classes in the second dimension", SCORED, "out.transpose(1, 2), b[:, 1:]",
         program="scaled"),
    Pair("the scale not restored", '    scaler.load_state_dict(saved["scaler"])\n', "",
         ("resumed-scaler",), "", "resume"),
    Pair("the same program", "", "", program="sampled"),
    Pair("another seed of the sampler", "seed=4", "seed=5", ("batch-sampler",), "in loader",
         "sampled"),
    Pair("set_epoch() forgotten", "    sampler.set_epoch(epoch)\n", "", ("batch-repeated",),
         "model(x)", "sampled"),
    Pair("another base of the positions", "10000", "1000", ("forward-input",), "self.positions",
         "sampled"),
    Pair("the mean taken after the last layer", "self.level(h.mean(1)).squeeze(-1)",
         "self.level(h).mean(1)", ("forward-shape",), "mean(1)", "sampled"),
    Pair("errors set to nothing", "        loss = ",
         "        errors[y == 0] = 0.0\n        loss = ",
         ("loss-more", "loss-call"), "errors[y == 0]", "sampled"),
    Pair("roots of how rare a level is", "torch.bincount(levels)", "torch.bincount(levels).sqrt()",
         ("loss-input",), "rarity[y]", "sampled"),
    Pair("positions before what they are added to", "self.embed(x) + self.positions",
         "self.positions + self.embed(x)", program="sampled"),
    Pair("the same program", "", "", program="counted"),
    Pair("batches counted", IN_LOADER, COUNTED, ("batch-generator",), "in loader", "counted"),
    Pair("batches counted, and the evaluation drawing", IN_LOADER, COUNTED, ("batch-generator",),
         "in loader", "counted", also=(", generator=torch.Generator())", ")")),
    Pair("only the evaluation drawing", ", generator=torch.Generator())", ")",
         ("generator-loader",), "in val", "counted"),
    Pair("batches counted, and the end asked for", IN_LOADER,
         "    taken = iter(loader)\n    for _, (x, y) in zip(range(4), taken):\n",
         program="counted",
         also=("    model.eval()\n", "    next(taken, None)\n    model.eval()\n")),
    Pair("a look at the first batch", "val = DataLoader", "next(iter(loader))\nval = DataLoader",
         ("batch-generator",), "in loader", "counted"),
    Pair("a look at the first batch of the evaluation", "for epoch in",
         "next(iter(val))\nfor epoch in", program="counted"),
    Pair("another seed of the loader", "manual_seed(1)", "manual_seed(2)", ("batch-generator",),
         "in loader", "counted"),
    Pair("not shuffled", "shuffle=True, generator=order", "", ("batch-sampler",), "in loader",
         "counted"),
    Pair("some samples drawn more often", "shuffle=True, generator=order",
         "sampler=torch.utils.data.WeightedRandomSampler(points[:, 0].exp(), 32)",
         ("batch-sampler",), "in loader", "counted"),
    Pair("a sampler made by hand", "shuffle=True,",
         "sampler=torch.utils.data.RandomSampler(data, generator=order),", program="counted"),
    Pair("batches counted, the last of which is smaller", IN_LOADER, COUNTED),
    Pair("gradients asked for again", MADE, MADE + "model.requires_grad_(True)\n"),
    Pair("epochs counted from one", "range(2)", "range(1, 3)"),
    Pair("the loss written out", LOSS,
         "loss = (out.logsumexp(1) - out[range(len(y)), y]).mean()\n"),
)  # fmt: skip
