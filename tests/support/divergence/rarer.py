"""Changes of sources/one.py for causes of which the other pairs have none."""

from __future__ import annotations

from support.divergence.change import Pair
from support.divergence.one_program import LOSS, MADE, STEP

CLIP = "        nn.utils.clip_grad_norm_(model.parameters(), 1.0)\n"
CALLED = "out = model(x)\n        loss"
EVALUATED = "            out = model(x)\n            total"
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
         "out.detach().numpy()[:] *= 1.1\n        " + LOSS, ("forward",), "model(x)"),
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
    Pair("gradients asked for again", MADE, MADE + "model.requires_grad_(True)\n"),
    Pair("epochs counted from one", "range(2)", "range(1, 3)"),
    Pair("the loss written out", LOSS,
         "loss = (out.logsumexp(1) - out[range(len(y)), y]).mean()\n"),
)  # fmt: skip
