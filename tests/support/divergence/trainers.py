"""Changes of sources/trainer.py, averaged.py and scaled.py, each judged from the program before the
tool was asked. How many it had right then, the instrument's README says."""

from __future__ import annotations

from support.divergence.change import Pair

CLIP = "                nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)\n"
STEP = "                self.opt.step()\n"
SCHEDULE = "                self.sched.step()\n"
ADAMW = "AdamW(self.net.parameters(), lr=cfg.lr, weight_decay=cfg.wd)"
APART = """\
AdamW(
            [
                dict(params=[p for p in self.net.parameters() if p.ndim > 1]),
                dict(params=[p for p in self.net.parameters() if p.ndim < 2], weight_decay=0.0),
            ],
            lr=cfg.lr,
            weight_decay=cfg.wd,
        )"""
LOGITS = '        logits = self.net(batch["image"])\n'
UNDER_AUTOCAST = """\
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = self.net(batch["image"])
        logits = logits.float()
"""
EPOCHS = "        for epoch in range(self.cfg.epochs):\n            self.net.train()\n"
LOSS = 'F.cross_entropy(logits, batch["label"], label_smoothing=self.cfg.smoothing)'
UNSCALE = "    scaler.unscale_(opt)\n"
LIMIT = "    nn.utils.clip_grad_norm_(lm.parameters(), 0.5)\n"

TRAINER = (
    Pair("no decay of biases and norms", ADAMW, APART, ("optimizer-groups",), "AdamW"),
    Pair("label smoothing", "smoothing: float = 0.0", "smoothing: float = 0.05",
         ("loss-function",), "label_smoothing"),
    Pair("another deviation", "/ 0.25", "/ 0.29", ("batch-normalised",)),
    Pair("eval() forgotten", "        self.net.eval()\n", "", ("evaluation-mode",), "argmax"),
    Pair("train() once, before the epochs", EPOCHS,
         "        self.net.train()\n        for epoch in range(self.cfg.epochs):\n",
         ("mode",), "self.net("),
    Pair("the schedule stepped once an epoch", SCHEDULE + "            print",
         "            self.sched.step()\n            print", ("schedule-epoch",), "Cosine"),
    Pair("the last batch kept", "drop_last=True", "drop_last=False", ("batch-size",),
         also=("T_max=cfg.epochs * len(self.train_dl)", "T_max=12")),
    Pair("another kind of initial weights",
         'kaiming_normal_(m.weight, nonlinearity="relu")', "xavier_normal_(m.weight)",
         ("weights",)),
    Pair("initial weights by the outputs", 'm.weight, nonlinearity', 'm.weight, mode="fan_out", '
         'nonlinearity', ("weights",)),
    Pair("the model under autocast", LOGITS, UNDER_AUTOCAST, ("forward-autocast",), "self.conv"),
    Pair("the loss in two calls", LOSS, 'F.nll_loss(F.log_softmax(logits, 1), batch["label"])'),
    Pair("an activation as a layer", "F.relu(self.bn(self.conv(x)))",
         "nn.ReLU()(self.bn(self.conv(x)))"),
    Pair("means of batches averaged", '(pred == batch["label"]).sum().item()\n            n += '
         "len(pred)", '(pred == batch["label"]).float().mean().item()\n            n += 1',
         ("evaluation-mean", "reported"), "val acc"),
    Pair("clipped after the step", CLIP + STEP, STEP + CLIP, ("clip-missing",), "clip_grad_norm_"),
)  # fmt: skip

AVERAGED = (
    Pair("not divided by the batches of a step", "(loss / accumulate).backward()",
         "loss.backward()", ("loss-not-divided",), "loss.backward()"),
    Pair("the last weights evaluated", "ema(X[:20])", "model(X[:20])",
         ("evaluation-weights",), "model(X[:20])"),
    Pair("averaged over longer", "decay=0.9)", "decay=0.99)",
         ("evaluation-weights",), "ema(X[:20])"),
    Pair("the order of the first epoch again", "100 + epoch", "100",
         ("batch-repeated",), "model(x)"),
    Pair("another value of a buffer", "0.1), persistent", "0.2), persistent", ("weights",)),
    Pair("no look ahead", ", nesterov=True", "", ("optimizer-option",), "nesterov"),
    Pair("another delta of the loss", "delta=1.0", "delta=0.5", ("loss-function",), "delta=0.5"),
    Pair("cleared at every batch", "            loss = nn.functional.huber",
         "            opt.zero_grad()\n            loss = nn.functional.huber",
         ("zero_grad-in-window",), "backward()"),
    Pair("the hidden state for the last output", "o, _ = self.gru(h)\n        return "
         "self.out(o[:, -1])", "_, h = self.gru(h)\n        return self.out(h[0])"),
    Pair("scores against targets of another shape", "huber_loss(model(x), y",
         "huber_loss(model(x)[:, None], y", ("loss-broadcast",), "[:, None]"),
    Pair("a buffer that is not saved with a copy", "persistent=True", "persistent=False"),
)  # fmt: skip

SCALED = (
    Pair("clipped before unscaling", UNSCALE + LIMIT, LIMIT + UNSCALE,
         ("clip-scaled",), "clip_grad_norm_"),
    Pair("unscaled by step() alone", UNSCALE, "", ("clip-scaled",), "clip_grad_norm_"),
    Pair("norms after each part", "norm_first=True", "norm_first=False",
         ("forward-call", "setting")),
    Pair("no row for padding", ", padding_idx=0", "", ("setting", "weights")),
    Pair("a token left out of the loss", "ignore_index=-1", "ignore_index=0",
         ("loss-function",), "crit("),
    Pair("a warm-up from elsewhere", "(s + 1) / 5", "s / 5 + 1e-3", ("optimizer-lr",)),
    Pair("the mask forgotten", "self.enc(h, mask=self.mask)", "self.enc(h)",
         ("forward-call", "forward-argument"), "self.enc("),
    Pair("the loss outside of autocast", "        loss = crit(", "    loss = crit(",
         ("loss-autocast",), "crit("),
    Pair("a mean of fewer losses", "sum(losses[-4:]) / 4", "sum(losses[-3:]) / 3",
         ("reported",), "print("),
    Pair("p of dropout within a layer", "dropout=0.1", "dropout=0.15", ("setting",)),
    Pair("the schedule before the scaler", "    scaler.update()\n    warm.step()\n",
         "    warm.step()\n    scaler.update()\n"),
    Pair("another scale of the loss", "init_scale=1024.0", "init_scale=2048.0"),
    Pair("no scaling of the loss", "init_scale=1024.0", "enabled=False"),
    Pair("a scale that rounding does not undo", "init_scale=1024.0", "init_scale=1000.0",
         ("scaler",), "backward()"),
)  # fmt: skip

TRAINERS = (
    *(pair._replace(program="trainer") for pair in TRAINER),
    *(pair._replace(program="averaged") for pair in AVERAGED),
    *(pair._replace(program="scaled") for pair in SCALED),
)
