"""The script that measures verdicts: its sentences, its libraries, and those of the samples."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from tempme_jax.search.query.unrelated import read_texts

FILE = Path(__file__).parents[2] / "benchmarks" / "verdicts.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("verdicts", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_sentences_are_others(script):
    held_out = script.read_texts_of(script.HELD_OUT)
    assert len(set(held_out)) == 256 and not set(held_out) & set(read_texts())


def test_shares_by_hand(script):
    compared = np.arange(100.0)
    scores = {"compared": compared, "true": np.array([99.5, 60.0]), "held out": np.array([1.0])}
    shares = script.judge(scores)
    assert (shares["true strong"], shares["true possible"], shares["true weak"]) == (50, 50, 0)
    assert (shares["held out weak"], shares["held out strong before"]) == (100, 0)


def test_a_simulated_library(script):
    """True descriptions score higher than others, and the same seed is the same library."""
    settings = {"windows": 400, "latent": 256, "decay": 0.0}
    one, again = script.simulate(3, **settings), script.simulate(3, **settings)
    assert all(np.array_equal(one[kind], again[kind]) for kind in one)
    assert len(one["true"]) == 200 and len(one["held out"]) == len(one["compared"]) == 256
    assert np.median(one["true"]) > one["held out"].max()
    assert script.judge(one)["true strong"] > 95


@pytest.mark.slow
def test_of_the_samples_none_that_is_right_is_weak(script):
    scores = script.measure_samples()
    shares = script.judge(scores)
    assert len(scores["true"]) == 96 and shares["true weak"] == 0
    assert shares["held out strong"] <= 5 and shares["true strong"] > 70
