"""The benchmark of training steps measures two versions in turns, and compares them."""

import pathlib

import numpy as np
import pytest

from tempme_jax.bench import train
from tempme_jax.bench.steps import draw_batch, tell_dial
from tempme_jax.training.config import TrainSettings

TOY = pathlib.Path(__file__).parents[1] / "support" / "toy_run.py"


def answer(seconds, losses, peak=100):
    return {"seconds": seconds, "cpu_seconds": seconds, "losses": losses, "peak": peak}


def test_versions_are_compared_round_by_round():
    made = [
        [answer([1.0, 9.0, 1.0], [3.0, 2.0, 1.0]), answer([2.0], [0.5], peak=300)],
        [answer([2.0, 2.0, 2.0], [3.0, 2.0, 1.0]), answer([6.0], [0.75], peak=200)],
    ]
    first = [answer([8.0], [4.0]), answer([9.0], [4.0])]
    ours, theirs = train.summarize([pathlib.Path("a"), pathlib.Path("b")], first, made)
    assert (ours.checkout, ours.first_seconds, ours.seconds, ours.cpu_seconds) == ("a", 8, 1.5, 1)
    assert (ours.speed_ratio, ours.cpu_ratio) == (2.5, 2)
    assert (ours.memory_ratio, ours.loss_difference) == (1.5, 0.25)
    assert (theirs.speed_ratio, theirs.cpu_ratio, theirs.loss_difference) == (1, 1, 0)


def test_a_folder_without_the_package_is_named(tmp_path):
    with pytest.raises(ValueError, match="must be a checkout"):
        train.measure_training(["--config=x"], against=tmp_path)


def test_the_last_id_ends_each_drawn_text():
    class Sizes:
        batch_size, size, vocab_size, num_frames, max_words = 5, 4, 50, 2, 7

    Sizes.train = Sizes.data = Sizes.arch = Sizes
    batch = draw_batch(Sizes, Sizes, 1)
    assert batch["frames"].shape == (5, 2, 4, 4, 3)
    ends = batch["ids"].argmax(axis=1)
    np.testing.assert_array_equal(ends, batch["text_mask"].sum(axis=1) - 1)
    assert not batch["ids"][~batch["text_mask"]].any()
    assert batch["place"].tolist() == [5, 6, 7, 8, 9]


def test_a_dial_that_is_not_measured_is_told(capsys):
    tell_dial(TrainSettings())
    tell_dial(object())  # of a version that had none
    assert capsys.readouterr().err == ""
    tell_dial(TrainSettings(dial="random"))
    assert capsys.readouterr().err.startswith("train.dial='random' is not measured: every step")


@pytest.mark.slow
def test_steps_of_a_checkout_beside_those_of_another(monkeypatch):
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    root = TOY.parents[2]
    ours, theirs = train.measure_training(
        [f"--config={TOY}"], against=root, steps=2, rounds=2, report=lambda message: None
    )
    assert ours.loss_difference == 0
    assert min(ours.seconds, theirs.seconds, ours.peak_memory_bytes) > 0
    with pytest.raises(ValueError, match="no step could be made"):
        train.measure_training([f"--config={TOY}", "--config.train.no=1"])
