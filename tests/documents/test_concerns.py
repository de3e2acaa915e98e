"""A tag covers the lines of its concern, so that a count of them is true."""

from __future__ import annotations

import pytest

from shared.compare.source.concerns import CONCERNS, concerns, marks
from shared.compare.source.lines import LIGHTNING, RAW

SOURCE = '''\
"""A file."""

import torch  # not a tag: [] [A]


def fit(config):
    # [seed] Before the weights are drawn.
    random.seed(config.seed)
    torch.manual_seed(
        config.seed
    )

    module = make()
    module.to(device)  # [device]
    trainer = Trainer(
        **options,
        max_epochs=3,
        # [ddp] Both said: otherwise every process
        # trains a model of its own.
        devices=[
            1,
        ],
        num_nodes=1,
        logger=Logger(
            "runs"
        ),  # [log]
    )
    while epoch < 3:  # [train] an epoch
        first()
        if config.clip is not None:  # [clip] the sum
            if config.clip > 0:
                clip(module)
        else:  # [predict] not clipped
            answer(module)
        with autocast():  # [precision] the forward
            forward()  # [log] its loss

        # [checkpoint] The epoch is done.
        epoch += 1
        if not config.fast:
            save()
        if stop:  # [resume] next time
            if really:
                stop()
        leave()  # [progress]
        # [validate] After it.
        validate()


def test():
    """[test] The weights of the best epoch."""
    return 1
'''
LINES = SOURCE.splitlines()
EXPECTED = {
    "seed": ["random.seed(config.seed)", "torch.manual_seed(", "config.seed", ")"],
    "device": ["module.to(device)"],
    "ddp": ["devices=[", "1,", "],"],
    "log": ["logger=Logger(", '"runs"', "),", "forward()"],
    "train": ["while epoch < 3:"],
    "clip": ["if config.clip is not None:"],
    "predict": ["else:", "answer(module)"],
    "precision": ["with autocast():"],
    "checkpoint": ["epoch += 1", "if not config.fast:", "save()"],
    "resume": ["if stop:", "if really:", "stop()"],
    "progress": ["leave()"],
    "validate": ["validate()"],
    "test": ["def test():", "return 1"],
}


@pytest.mark.parametrize("tag", EXPECTED)
def test_a_tag_marks_its_statement_its_argument_or_its_block(tag):
    lines = sorted({line for t, _, found in marks(SOURCE) if t == tag for line in found})
    assert [LINES[n - 1].split("  #")[0].strip() for n in lines] == EXPECTED[tag]


def test_no_other_tag_is_found():
    assert {tag for tag, _, _ in marks(SOURCE)} == set(EXPECTED)


@pytest.mark.parametrize("folder", [RAW, LIGHTNING], ids=lambda f: f.name)
def test_both_sides_use_the_known_tags_and_each_of_them(folder):
    assert set(concerns(folder)) == set(CONCERNS)
    for tag, places in concerns(folder).items():
        assert all(place.lines for place in places), tag
