"""The demonstration, as short as it can be: every part of it runs and says what it should."""

import numpy as np
import pytest

from graphc.cli.demo import digits, letters
from graphc.cli.demo.report import restored
from graphc.frontends import training
from graphc.frontends.data import load_digits

TEXT = "the quick brown fox jumps over the lazy dog. " * 60


def test_a_perceptron_learns_digits_and_everything_is_shown(graphc, tmp_path):
    shown = graphc("demo", "--model", "mlp", "--epochs", "1", "--out", tmp_path)
    assert shown.status == 0
    accuracy = float(shown.out.split("test accuracy ")[1].split("%")[0])
    assert accuracy > 85
    for part in ("as written", "largest difference", "median of a step", "slowest of"):
        assert part in shown.out
    written = {path.suffix for path in tmp_path.iterdir()}
    assert {".svg", ".ll", ".s", ".txt"} <= written


def test_the_step_agrees_with_the_interpreter(graphc, tmp_path):
    shown = graphc("demo", "--model", "mlp", "--epochs", "0", "--out", tmp_path).out
    gap = float(shown.split("largest difference between llvm and numpy: ")[1].split()[0])
    assert gap < 1e-5


@pytest.mark.slow
def test_lenet_reaches_its_accuracy(graphc, tmp_path):
    shown = graphc("demo", "--out", tmp_path)
    assert float(shown.out.split("test accuracy ")[1].split("%")[0]) >= 97.5
    assert (tmp_path / "lenet.svg").exists()


def test_ctrl_c_keeps_what_was_learned(graphc, tmp_path, monkeypatch):
    def stop(*batch):
        raise KeyboardInterrupt

    monkeypatch.setattr(digits, "scheduled", lambda step, rate, total: stop)
    shown = graphc("demo", "--model", "mlp", "--out", tmp_path)
    assert shown.status == 0
    assert "test accuracy" in shown.out
    assert "as written" not in shown.out


def test_letters_are_learned_and_written(graphc, tmp_path, monkeypatch):
    for name, value in {"WINDOW": 4, "STREAMS": 4, "HIDDEN": 8, "SAMPLE": 20}.items():
        monkeypatch.setattr(letters, name, value)
    (tmp_path / "fox.txt").write_text(TEXT)
    options = ("--text", tmp_path / "fox.txt", "--epochs", "1", "--backend", "numpy")
    shown = graphc("demo", "--model", "char-rnn", *options, "--out", tmp_path)
    assert shown.status == 0
    sample = shown.out.split("a sample of its writing\n")[1].split("\npasses")[0]
    assert set(sample) <= set(TEXT) | {"\n"}


@pytest.mark.parametrize("content", [None, "too short"])
def test_letters_need_a_text(graphc, tmp_path, content):
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_text(content)
    shown = graphc("demo", "--model", "char-rnn", "--text", path, "--out", tmp_path)
    assert (shown.status, shown.err[:6]) == (1, "GC0501")


def test_a_folder_that_cannot_be_made_is_noticed_before_the_training(graphc, tmp_path):
    (tmp_path / "taken").write_text("a file")
    shown = graphc("demo", "--out", tmp_path / "taken" / "demo")
    assert (shown.status, shown.err[:6]) == (1, "GC0501")


def test_images_move_by_at_most_two_pixels_each_way():
    images = np.zeros((200, 28, 28), np.uint8)
    images[:, 14, 14] = 255
    moved = digits.shifted(images, np.random.default_rng(0))
    _, rows, columns = np.nonzero(moved)
    assert np.count_nonzero(moved) == 200
    assert set(rows) == set(columns) == {12, 13, 14, 15, 16}


def test_parameters_come_back(tmp_path):
    model = digits.MODELS["mlp"]()
    made, _, _ = digits.build("mlp", model, load_digits(), "numpy")
    before = [p.node.op.storage.array.copy() for p in model.parameters()]
    with restored(made.step.graph):
        made.step(*made.batch)
        assert any(
            not np.array_equal(a, p.node.op.storage.array)
            for a, p in zip(before, model.parameters(), strict=True)
        )
    after = [p.node.op.storage.array for p in model.parameters()]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert training.fit is digits.fit
