"""Changes of the programs in sources/untrained/, where models are called that are not trained by
what they give. Each was judged from the program before the tool was asked."""

from __future__ import annotations

from support.divergence.change import Pair

FEATURES = """\
        with torch.no_grad():
            features = backbone(data[index])
"""
STUDENT = "        out = student(features)\n"
TEACHER = """\
        with torch.no_grad():
            aim = teacher(features)
"""
MADE = "student = nn.Sequential("

FROZEN = (
    Pair("frozen layers in train mode", "    backbone.eval()\n", "", ("mode-some",), "backbone("),
    Pair("a teacher in train mode", "    teacher.eval()\n", "", ("mode-some",)),
    Pair("other weights of the teacher", MADE, "teacher[0].weight.data *= 1.1\n" + MADE,
         ("frozen-weights",), "teacher("),
    Pair("other weights of frozen layers", MADE, "backbone[0].bias.data += 0.1\n" + MADE,
         ("frozen-weights",), "backbone("),
    Pair("other points for frozen layers", "backbone(data[index])", "backbone(data[index] * 1.1)",
         ("batch-normalised",), "backbone("),
    Pair("a call more before frozen layers", "            features = backbone(data[index])\n",
         "            features = F.normalize(backbone(data[index]))\n",
         ("forward-call",), "normalize"),
    Pair("another temperature of the teacher", "aim / 2", "aim / 3",
         ("loss-argument", "loss-call"), "aim / 3"),
    Pair("nothing of the teacher", "hard + 0.5 * soft", "hard", ("loss-more",), "0.5 * soft"),
    Pair("the last weights evaluated", "average(backbone(", "student(backbone(",
         ("evaluation-weights",), "backbone("),
    Pair("another average evaluated", "avg_fn(0.9)", "avg_fn(0.8)", ("evaluation-weights",)),
    Pair("a teacher with gradients", TEACHER, "        aim = teacher(features)\n",
         ("gradients-further",), "teacher("),
    Pair("frozen layers with gradients on", FEATURES,
         "        features = backbone(data[index])\n"),
    Pair("frozen layers and student in one", STUDENT,
         "        out = nn.Sequential(backbone, student)(data[index])\n"),
    Pair("the teacher asked first", STUDENT + TEACHER, TEACHER + STUDENT),
    Pair("a teacher whose answer is detached", TEACHER,
         "        aim = teacher(features).detach()\n"),
    Pair("gradients on while features are evaluated",
         "    with torch.no_grad():\n        scores = average(backbone(data[96:]))\n",
         "    evaluated = backbone(data[96:])\n    with torch.no_grad():\n"
         "        scores = average(evaluated)\n"),
)  # fmt: skip

ASKED = """\
    with torch.no_grad():
        best = target(following[index]).max(1).values
"""

Q_LEARNING = (
    Pair("a target that follows more slowly", "0.1 * kept + 0.9 *", "0.01 * kept + 0.99 *",
         ("frozen-weights",), "target("),
    Pair("the network for its target", "target(following", "network(following",
         ("frozen-weights",), "network("),
    Pair("the states for those that follow", "following[index]", "states[index]",
         ("batch-values",), "target("),
    Pair("gradients through the target", ASKED,
         "    best = target(following[index]).max(1).values\n", ("gradients-further",), "target("),
    Pair("the answer of the target detached", ASKED,
         "    best = target(following[index]).detach().max(1).values\n"),
    Pair("the target asked after it was moved", "    target.load_state_dict(moved)\n",
         "    target.load_state_dict(moved)\n    target(states[:1]).detach()\n"),
)  # fmt: skip

MADE_ONCE = "    made = maker(torch.randn(16, 4)).detach()\n"
MADE_TWICE = (
    Pair("points made without gradients", MADE_ONCE,
         "    with torch.no_grad():\n        made = maker(torch.randn(16, 4))\n"),
    Pair("points made in eval mode", MADE_ONCE,
         f"    maker.eval()\n{MADE_ONCE}    maker.train()\n", ("mode-some",), "maker("),
    Pair("points made of other noise", "made = maker(torch.randn(16, 4)", 
         "made = maker(2 * torch.randn(16, 4)", ("batch-normalised",), "maker("),
)  # fmt: skip

PERCEIVED = (
    Pair("labels given in training mode", "    guess.eval()\n", "", ("evaluation-mode",), "argmax"),
    Pair("a frozen network that is not", "eye.requires_grad_(False)\n", "",
         ("frozen",)),
    Pair("a frozen network in training mode", "eye.eval()\n", "", ("mode-some",), "eye("),
    Pair("what is seen in the picture detached", "eye(picture))", "eye(picture).detach())"),
    Pair("what is seen in the picture first", "    loss = F.l1",
         "    with torch.no_grad():\n        aim = eye(picture)\n    loss = F.l1",
         also=("eye(out), eye(picture)", "eye(out), aim")),
)  # fmt: skip

HELD = "Adam(self.student.parameters()"
TAUGHT = (
    Pair("a teacher within the module", "", ""),
    Pair("a teacher in the optimizer too", HELD, "Adam(self.parameters()"),
    Pair("a teacher within the module in training mode", "        self.teacher.eval()\n", "",
         ("mode-some",), "self.teacher("),
    Pair("a teacher within the module with gradients",
         "        with torch.no_grad():\n            aim", "        aim",
         ("gradients-missing", "gradients-further")),
    Pair("another teacher within the module", "        self.teacher.eval()\n",
         "        self.teacher.eval()\n        self.teacher[0].bias.data += 0.1\n",
         ("frozen-weights",), "teacher("),
)  # fmt: skip

BY_FROZEN = (
    *(pair._replace(program="frozen") for pair in FROZEN),
    *(pair._replace(program="q_learning") for pair in Q_LEARNING),
    *(pair._replace(program="made_twice") for pair in MADE_TWICE),
    *(pair._replace(program="perceived") for pair in PERCEIVED),
    *(pair._replace(program="taught_by_lightning", against="taught") for pair in TAUGHT),
)
