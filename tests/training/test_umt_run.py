"""A run of UMT from settings to results: re-ranking, resuming, and settings that do not fit."""

import dataclasses
import signal
import time

import numpy as np
import pytest
import toy_run

from tempme_jax.training.result_tables import describe_protocol, format_rows
from tempme_jax.training.results import DIRECTIONS, read_results
from tempme_jax.training.run import run

UMT = {
    "data.resize": "squash",
    "model.architecture.backbone": "umt",
    "model.architecture.class_tokens": 0,
    "model.architecture.first_cross": 1,
    "model.architecture.text_depth": 2,
    "model.architecture.context_length": 16,
    "model.architecture.tokenizer": "bert",
    "model.architecture.vocab_size": 4352,
    "model.architecture.resize": "squash",
    "model.architecture.frozen_embeddings": False,
    "train.batches": "shuffle",
    "train.steps": 6,
    "train.optimizer": "adamw",
    "train.decay_vectors": False,
    "train.drop_path": 0.2,
    "train.dropout": 0.1,
    "train.negative_group": 4,
    "train.frame_sampling": "umt_random",
    "train.augmentation": "umt",
    "evaluate.frame_sampling": "umt",
    "evaluate.rerank": 3,
    "evaluate.select_by": "r_mean",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return toy_run.make_home(tmp_path_factory)


@pytest.fixture(scope="module")
def whole(home, tmp_path_factory):
    """A whole run that compiles soon, as nothing is dropped, and what it returned."""
    workdir = tmp_path_factory.mktemp("whole")
    soon = {"model.architecture.depth": 1, "train.dropout": 0.0, "train.drop_path": 0.0}
    return workdir, run(make_config(home, **soon), workdir)


def make_config(home, method="full", **settings):
    return toy_run.make_config(home, UMT | settings, method)


def test_results_have_both_recalls_and_what_the_second_cost(whole):
    workdir, measured = whole
    results = read_results(workdir)
    assert results["plain"].keys() == set(DIRECTIONS)
    cost = results["rerank"]
    # Of eight texts with eight videos, three of each row and of each column.
    assert cost["best"] == 3 and 24 <= cost["pairs"] <= 48
    assert cost["seconds"] > 0 < cost["mac"]
    for direction in DIRECTIONS:
        for part in (results, results["plain"]):
            assert set(part[direction]["intervals"]) >= {"R@1", "R@5"}
        # Re-ranking three candidates moves nothing from or to the first three ranks.
        assert results[direction]["R@10"] == results["plain"][direction]["R@10"] == 100
    assert results["protocol"]["notes"] == ["the 3 best re-ranked by the matching head"]
    line = describe_protocol(measured)
    assert "the 3 best re-ranked by the matching head" in line
    assert "; behind the 3 best all are tied: R@5 and R@10 say little;" in line
    names = [row[6] for row in format_rows(measured)]
    assert names == [f"{way.replace('_', ' ')}, re-ranked" for way in DIRECTIONS] + [
        f"{way.replace('_', ' ')}, plain" for way in DIRECTIONS
    ]


def test_the_best_checkpoint_has_the_largest_r_mean(whole):
    workdir, measured = whole
    lines = toy_run.read_lines(workdir, "validation")
    assert [line["step"] for line in lines] == [4, 6]
    best = max(lines, key=lambda line: line["r_mean"])
    assert measured["step"] == best["step"]


@pytest.mark.slow
@pytest.mark.processes
def test_a_killed_run_goes_on_with_the_same_bits(home, tmp_path):
    """Dropout, stochastic depth, negatives, frames and augmentation are all drawn again."""
    flags = [f"--config.{name}={value}" for name, value in UMT.items()]
    whole, workdir = tmp_path / "whole", tmp_path / "run"
    toy_run.finish(toy_run.start(home, whole, *flags, method="full+tempme"))
    killed = toy_run.start(home, workdir, *flags, method="full+tempme")
    while killed.poll() is None and not (workdir / "last/4").exists():
        time.sleep(0.001)
    killed.kill()
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    _, err = toy_run.finish(toy_run.start(home, workdir, *flags, method="full+tempme"))
    assert "resuming after step 4 of 6" in err
    assert toy_run.read_lines(workdir) == toy_run.read_lines(whole)
    (found, reached), (expected, step) = (
        toy_run.read_arrays(folder, "last") for folder in (workdir, whole)
    )
    assert reached == step == 6 and found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name, strict=True)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"train.dropout": 0.1}, "train.dropout=0.1, but the text tower of the backbone 'clip'"),
        ({"evaluate.rerank": 5}, "evaluate.rerank=5, but the backbone 'clip' has no head"),
    ],
)
def test_what_only_umt_has(home, tmp_path, settings, words):
    with pytest.raises(ValueError, match=words):
        run(toy_run.make_config(home, settings), tmp_path)


def test_frames_of_a_centre_crop_are_not_umts(home, tmp_path):
    with pytest.raises(ValueError, match="data.resize=squash"):
        run(make_config(home, **{"data.resize": "crop"}), tmp_path)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"train.dropout": 1.0}, "train.dropout=1.0"),
        ({"train.drop_path": -0.1}, "train.drop_path=-0.1"),
        ({"train.least_rate": 2.0}, "train.least_rate=2.0"),
        ({"train.vtc_weight": float("nan")}, "train.vtc_weight=nan"),
        ({"train.negative_group": 1}, "train.negative_group=1"),
        ({"train.negative_group": -1}, "train.negative_group"),
        ({"evaluate.rerank": -1}, "evaluate.rerank"),
        ({"evaluate.dual_softmax": True}, "evaluate.dual_softmax and evaluate.rerank are both"),
        ({"evaluate.select_by": "R@1"}, "evaluate.select_by"),
    ],
)
def test_settings_that_are_not_allowed(home, settings, words):
    with pytest.raises(ValueError, match=words):
        make_config(home, **settings)


def test_every_objective_of_a_network_has_a_task():
    from tempme_jax.networks.backbones import BACKBONES
    from tempme_jax.training.tasks import TASKS

    assert {network.objective for network in BACKBONES.values()} == TASKS.keys()
    assert all(dataclasses.is_dataclass(task.objective) for task in TASKS.values())
