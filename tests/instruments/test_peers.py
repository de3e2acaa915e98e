"""Other people's programs are timed until they print that they have reached the goal."""

from __future__ import annotations

import sys

import pytest

from shared.bench import peers


@pytest.mark.parametrize(
    ("line", "accuracy"),
    [
        ("Test set: Average loss: 0.0289, Accuracy: 9912/10000 (99%)", 0.9912),
        ("Test set: Average loss: 0.0289, Accuracy: 9899/10000 (99%)", 0.9899),
        ("test          accuracy 99.12%, loss 0.0264, weights of epoch 0", 0.9912),
        ("epoch 3 test_acc=0.9907", 0.9907),
        ("Accuracy of the network: 99 %", 0.99),
        ("acc 100%", 1.0),
        ("validation    accuracy 99.50%, loss 0.0264", None),
        ("Train accuracy: 9950/10000", None),
        ("Accuracy: 12/0", None),
        ("accuracy 9912%", None),
        ("inaccurate: 99%", None),
        ("val_acc=0.9950", None),
        ("loss 0.99", None),
    ],
)
def test_a_test_accuracy_is_read_from_what_programs_print(line, accuracy):
    assert peers.read_accuracy(line) == pytest.approx(accuracy)


def test_a_peer_is_stopped_when_it_has_reached_the_goal(tmp_path):
    program = "import time\nfor n in (5, 99, 7): print(f'Accuracy: {n}/100', flush=True)\n"
    (tmp_path / "fast.py").write_text(program + "time.sleep(60)")
    found = peers.time_to_goal([sys.executable, "fast.py"], tmp_path, 0.99, timeout=30)
    assert 0 < found["seconds"] < 30
    assert found["accuracy"] == 0.99
    assert found["status"] is None


def test_a_peer_that_never_reaches_it_is_told_so(tmp_path):
    (tmp_path / "poor.py").write_text("print('Accuracy: 98.7%')")
    found = peers.time_to_goal([sys.executable, "poor.py"], tmp_path, 0.99, timeout=30)
    assert found == {"seconds": None, "accuracy": 0.987, "status": 0}
    (tmp_path / "slow.py").write_text("import time; time.sleep(60)")
    found = peers.time_to_goal([sys.executable, "slow.py"], tmp_path, 0.99, timeout=1)
    assert found == {"seconds": None, "accuracy": None, "status": None}


def test_peers_without_a_folder_or_scripts_are_one_line(command, one_line, tmp_path):
    for arguments, parts in (((), ("PEERS=FOLDER",)), ((tmp_path,), ("PEERS", tmp_path))):
        wrong = command("shared.bench.peers", *arguments)
        assert wrong.status == 2
        one_line(wrong.err, *parts)
