"""Speeds are measured of every backbone, also of one that makes no vectors of videos."""

import dataclasses

import toy_umt

from tempme_jax.bench.encode import measure_models
from tempme_jax.building import create


def test_a_model_that_answers_questions():
    arch = dataclasses.replace(toy_umt.SMALL, backbone="umt-qa")
    model = create(arch, method="full", num_frames=2)
    (speed,) = measure_models({"umt": lambda: model}, batch=1, rounds=1)
    assert speed.videos_per_second > 0 and speed.ratio == speed.expected_ratio == 1
