"""Runs on many devices and in many processes are those on one: the same losses and metrics."""

import json
import os
import re
import shutil
import signal
import socket

import numpy as np
import pytest
import toy_run
from toy_run import finish, read_arrays, read_lines, start

import tempme_jax
from tempme_jax.training.checkpoint import read_progress
from tempme_jax.training.results import DIRECTIONS

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return toy_run.make_home(tmp_path_factory)


@pytest.fixture(scope="module")
def alone(home):
    """The workdir of a run on one device."""
    return toy_run.finish_whole(home)


@pytest.fixture(scope="module")
def eight(home):
    """The workdir of a run on eight devices."""
    return toy_run.finish_whole(home, devices=8)


def start_two(home, workdir, *flags):
    """Two processes of two devices each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cluster = ("--distributed", f"--coordinator=127.0.0.1:{port}", "--processes=2")
    return [
        start(home, workdir, *cluster, f"--process={number}", *flags, devices=2)
        for number in range(2)
    ]


def results_of(workdir):
    return json.loads((workdir / "results.json").read_text())


def assert_same_losses(workdir, alone):
    lines, expected = read_lines(workdir), read_lines(alone)
    assert [(line["step"], line["kind"]) for line in lines] == [
        (line["step"], line["kind"]) for line in expected
    ]
    for line, other in zip(lines, expected, strict=True):
        for name in ("loss", "R@1", "R-Sum"):
            if name in other:
                np.testing.assert_allclose(line[name], other[name], rtol=0, atol=1e-5)


def assert_same_metrics(workdir, alone):
    found, expected = results_of(workdir), results_of(alone)
    for direction in DIRECTIONS:
        assert found[direction] == expected[direction]
    assert found["step"] == expected["step"]


def test_eight_devices_are_as_one(eight, alone):
    assert_same_losses(eight, alone)
    assert_same_metrics(eight, alone)


def test_two_processes_are_as_one(home, alone, tmp_path):
    workdir = tmp_path / "run"
    (out, err), second = map(finish, start_two(home, workdir))
    assert_same_losses(workdir, alone)
    assert_same_metrics(workdir, alone)
    # One of them speaks, and writes.
    assert "Text-video retrieval" in out and "step 12/12" in err
    assert not re.search("step|what trains|Text-video|W[0-9]{4}", "".join(second))
    files = sorted(file.name.split(".")[0] for file in workdir.iterdir())
    names = ["best", "config", "events", "identity", "last", "metrics", "results", "trained_on"]
    assert files == names


def test_a_checkpoint_of_eight_devices_opens_on_one(home, eight, alone, tmp_path):
    vectors = tempme_jax.load(eight).embed_text("video 1 of many")
    np.testing.assert_allclose(np.linalg.norm(vectors), 1, rtol=1e-6)

    workdir = tmp_path / "run"
    shutil.copytree(eight, workdir)
    shutil.rmtree(workdir / "last" / "12")
    (workdir / "results.json").unlink()
    _, err = finish(start(home, workdir))
    assert "resuming after step 10 of 12" in err
    assert_same_losses(workdir, alone)
    assert read_arrays(workdir, "last")[1] == 12


@pytest.mark.slow
def test_all_processes_stop_when_one_is_asked_to(home, alone, tmp_path):
    workdir = tmp_path / "run"
    both = start_two(home, workdir, "--config.train.steps=2000")
    while not (workdir / "metrics.jsonl").exists() or len(read_lines(workdir)) < 3:
        assert both[0].poll() is None
    os.kill(both[1].pid, signal.SIGTERM)
    (_, err), _ = map(finish, both)
    assert f"stopped after step {read_progress(workdir).step} of 2000, which is saved" in err


@pytest.mark.slow
def test_all_processes_end_when_the_data_are_not_there(home, tmp_path):
    both = start_two(
        home, tmp_path / "run", f"--config.data.root={tmp_path}/none",
        f"--config.data.prepared={tmp_path}/prepared",
    )  # fmt: skip
    answers = [process.communicate(timeout=60)[1].splitlines()[-1] for process in both]
    assert [process.returncode for process in both] == [1, 1]
    assert "captions.csv" in answers[0]
    assert answers[1] == "Error: the data are not prepared; the first process says why"
