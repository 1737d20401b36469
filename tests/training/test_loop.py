"""The loop of training: what it saves, reports and stops at, with a model of three numbers."""

import contextlib
import dataclasses
import json
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tempme_jax.networks.network import Network
from tempme_jax.training import loop
from tempme_jax.training.checkpoint import Checkpoints
from tempme_jax.training.config import Config, ModelSettings, TrainSettings
from tempme_jax.training.loop import Plan, TrainingError, train
from tempme_jax.training.sharding import make_mesh, place_params, replicate
from tempme_jax.training.step import TrainState, leave_unchanged, train_step


@dataclasses.dataclass(frozen=True)
class Squares:
    """The squared distance of the weights from what a batch says."""

    network = Network

    def make_key(self, step):
        return jax.random.key(0)

    def compute_gradients(self, trainable, frozen, batch, key):
        away = trainable["w"] - batch["x"].mean(0)
        return (away**2).sum(), {"w": 2 * away}


@dataclasses.dataclass(frozen=True)
class Rows:
    """Two rows a step; from step `bad` on they hold NaN."""

    steps: int
    bad: int | None = None

    def __len__(self):
        return 2 * self.steps

    def __getitem__(self, place):
        value = np.nan if self.bad and place // 2 + 1 >= self.bad else 10 + place % 7
        return {"x": np.full(3, value, np.float32)}


class Given:
    """Stands in for the evaluation: an R-Sum for every time it is asked."""

    def __init__(self, *sums):
        self.sums, self.states = list(sums), []

    def __call__(self, state):
        self.states.append(np.asarray(state.trainable["w"]))
        return {"R@1": 1.0, "R-Sum": self.sums.pop(0)}, "R-Sum"


def planned(
    folder, *, steps=8, bad=None, evaluate=None, rate=0.1, profile=0, augment=None, **settings
):
    """A plan and its first state."""
    mesh = make_mesh(-1, 1)
    update = optax.sgd(rate)
    trainable = place_params(mesh, {"w": np.zeros(3, np.float32)}, split=False)
    state = TrainState(place_step(mesh), trainable, update.init(trainable))
    every = {"evaluate_every": 2, "checkpoint_every": 2, "log_every": 4}
    config = Config(
        train=TrainSettings(batch_size=2, **(every | settings)),
        model=ModelSettings(weights="x"),
        profile=profile,
    )

    def step(state, batch):
        return train_step(Squares(), update, augment or leave_unchanged, state, {}, batch)

    source, rates = Rows(steps, bad), optax.constant_schedule(rate)
    return Plan(config, folder, mesh, source, step, rates, evaluate), state


def place_step(mesh):
    return place_params(mesh, {"step": np.int32(0)}, split=False)["step"]


def steps_of(folder, kind):
    return sorted(int(part.name) for part in (folder / kind).iterdir())


def weights_of(folder, kind):
    like = place_params(make_mesh(-1, 1), {"w": np.zeros(3, np.float32)}, split=False)
    with contextlib.closing(Checkpoints(folder, kind)) as checkpoints:
        arrays, progress = checkpoints.read_newest(trainable=like)
    return np.asarray(arrays["trainable"]["w"]), progress


def test_the_last_two_and_the_best_are_kept(tmp_path):
    evaluate = Given(10.0, 30.0, 20.0, 30.0)
    state, progress, complete = train(*planned(tmp_path, evaluate=evaluate))
    assert complete
    assert int(state.step) == progress.step == 8
    assert steps_of(tmp_path, "last") == [6, 8]
    assert steps_of(tmp_path, "best") == [4]  # of equal ones the first
    weights, best = weights_of(tmp_path, "best")
    np.testing.assert_array_equal(weights, evaluate.states[1])
    assert (best.best, best.best_step, best.step) == (30.0, 4, 4)
    assert (progress.best, progress.best_step) == (30.0, 4)


def test_the_last_step_is_saved_and_evaluated_whatever_the_intervals(tmp_path):
    evaluate = Given(10.0)
    train(*planned(tmp_path, evaluate=evaluate, evaluate_every=0, checkpoint_every=0))
    assert steps_of(tmp_path, "last") == steps_of(tmp_path, "best") == [8]


def test_without_selection_there_is_no_best(tmp_path):
    train(*planned(tmp_path))
    assert steps_of(tmp_path, "last") == [6, 8]
    assert steps_of(tmp_path, "best") == []


def test_a_finished_training_is_not_made_again(tmp_path):
    for _ in range(2):
        state, progress, complete = train(*planned(tmp_path))
        assert complete and progress.step == int(state.step) == 8
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 9))


def test_a_loss_that_is_no_number_ends_it_with_the_step(tmp_path):
    with pytest.raises(TrainingError, match="^step 6: the loss"):
        train(*planned(tmp_path, bad=6))
    assert steps_of(tmp_path, "last") == [2, 4]
    assert np.isfinite(weights_of(tmp_path, "last")[0]).all()


def test_parameters_that_are_no_numbers_are_not_saved(tmp_path):
    # The loss of a step is that of the parameters before it: it is still a number.
    with pytest.raises(TrainingError, match="^step 1: not all parameters are finite"):
        train(*planned(tmp_path, rate=3e38, checkpoint_every=1))
    assert steps_of(tmp_path, "last") == []


def test_a_signal_saves_and_stops_and_the_rest_is_as_if_it_had_not_been(tmp_path, capsys):
    whole, _, _ = train(*planned(tmp_path / "whole", evaluate=Given(1.0, 2.0, 3.0, 4.0)))

    def ask(batch):
        os.kill(os.getpid(), signal.SIGTERM)
        return batch

    before = signal.getsignal(signal.SIGTERM)
    folder = tmp_path / "parts"
    stopped = train(*planned(folder, evaluate=Given(), augment=ask))  # while it compiles
    assert signal.getsignal(signal.SIGTERM) == before
    assert (stopped[1].step, stopped[2]) == (1, False)
    assert steps_of(folder, "last") == [1]
    assert "stopped after step 1 of 8, which is saved" in capsys.readouterr().err

    state, progress, complete = train(*planned(folder, evaluate=Given(1.0, 2.0, 3.0, 4.0)))
    assert complete and progress.best == 4.0
    np.testing.assert_array_equal(state.trainable["w"], whole.trainable["w"])


def test_every_step_is_a_line_and_some_are_reported(tmp_path, capsys):
    train(*planned(tmp_path, evaluate=Given(1.0, 2.0, 3.0, 4.0)))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    trained = [line for line in lines if line["kind"] == "train"]
    assert [line["step"] for line in trained] == list(range(1, 9))
    assert [line["step"] for line in lines if line["kind"] == "validation"] == [2, 4, 6, 8]
    # Of the first step, which is compiled, the speed would say nothing.
    assert [line["step"] for line in trained if "videos_per_second" in line] == [4, 8]
    shown = [line for line in capsys.readouterr().err.splitlines() if line.startswith("step")]
    reported = [line.split()[1] for line in shown if "loss" in line]
    assert reported == ["1/8", "4/8", "8/8"]
    assert "step 4: validation R@1 1.0, R-Sum 2.0, the best so far" in shown


def test_a_trace_of_the_profiler_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "PROFILE_FROM", 2)
    train(*planned(tmp_path, profile=2))
    (trace,) = tmp_path.glob("plugins/profile/*/*.xplane.pb")
    assert trace.stat().st_size > 0


@pytest.mark.parametrize("profile", [5, 100])
def test_a_trace_ends_with_the_training(profile, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "PROFILE_FROM", 8)
    train(*planned(tmp_path, profile=profile))
    assert list(tmp_path.glob("plugins/profile/*/*.xplane.pb"))


def test_finite_looks_at_every_array():
    good = {"a": jnp.ones(3), "b": {"c": jnp.ones(())}}
    assert loop.are_finite(good)
    assert not loop.are_finite(good | {"b": {"c": jnp.array(jnp.inf)}})


def test_the_optimizer_state_is_on_all_devices(tmp_path):
    _, state = planned(tmp_path)
    assert state.trainable["w"].sharding == replicate(make_mesh(-1, 1))
