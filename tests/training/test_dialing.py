"""Training with the dial at random: which schedule a step takes, also after resuming."""

import dataclasses
import signal
import time

import numpy as np
import pytest
import toy_run
from toy_clip import make_network

from tempme_jax.training.config import TrainSettings
from tempme_jax.training.dialing import DialedObjectives, choose_schedule
from tempme_jax.training.objectives.contrastive import ContrastiveObjective
from tempme_jax.training.step import TrainState

RANDOM = TrainSettings(dial="random", dial_strengths=(0.0, 1.0, 2.0))


def make(settings=RANDOM, method="tempme", seed=42):
    objective = ContrastiveObjective(make_network(method))
    return DialedObjectives(objective, settings, 4, seed)


def list_kept(dialed, first, steps):
    """The shares R_C of some steps."""
    states = (TrainState(np.int32(step), {}, ()) for step in range(first, first + steps))
    return [dialed.take(state).network.reducer.keep_cross for state in states]


def test_which_schedule_a_step_takes_depends_on_its_number_and_the_seed_alone():
    kept = list_kept(make(), 0, 60)
    assert set(kept) == {1.0, 0.7, 0.5}
    assert list_kept(make(), 25, 35) == kept[25:]  # as after resuming
    assert list_kept(make(seed=1), 0, 60) != kept
    assert kept[:8] == [[1.0, 0.7, 0.5][choose_schedule(42, step, 3)] for step in range(8)]


def test_schedules_are_told_and_objectives_share_everything_else(capsys):
    dialed = make()
    dialed.describe()
    told = capsys.readouterr().err
    assert told.startswith("Each step merges by one of 3 schedules") and "R_C=0.5" in told
    first = dialed.objectives[0]
    for other in dialed.objectives[1:]:
        network = other.network.copy(reducer=first.network.reducer)
        assert dataclasses.replace(other, network=network) == first


def test_off_is_the_objective_alone(capsys):
    dialed = make(TrainSettings())
    dialed.describe()
    assert capsys.readouterr().err == ""
    assert dialed.take(None) is dialed.objectives[0]


def test_what_cannot_be_dialed_is_refused(tmp_path_factory):
    with pytest.raises(ValueError, match="train.dial='random' changes how strongly tokens merge"):
        make(method="full")
    with pytest.raises(ValueError, match="train.dial_strengths=.* must be numbers of 0 or more"):
        toy_run.make_config(tmp_path_factory.getbasetemp(), {"train.dial_strengths": (1.0, -1.0)})


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("devices", [1, 2])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(tmp_path, tmp_path_factory, devices):
    home = toy_run.make_home(tmp_path_factory)
    flags = ["--config.train.dial=random", "--config.train.dial_strengths=(1.0,2.0,0.0)"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    _, err = toy_run.finish(toy_run.start(home, whole, *flags, devices=devices))
    assert "Each step merges by one of 3 schedules" in err
    process = toy_run.start(home, stopped, *flags, devices=devices)
    deadline = time.monotonic() + toy_run.SECONDS
    file = stopped / "metrics.jsonl"
    while not (file.exists() and file.read_bytes().count(b"\n") >= 5):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    assert "which is saved" in toy_run.finish(process)[1]
    _, err = toy_run.finish(toy_run.start(home, stopped, *flags, devices=devices))
    assert "resuming after step" in err
    assert toy_run.read_lines(stopped) == toy_run.read_lines(whole)
    if devices > 1:  # arrays of several devices are not read by one
        return
    expected, found = (toy_run.read_arrays(one, "last")[0] for one in (whole, stopped))
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
