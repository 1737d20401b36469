"""Training by late interaction: its loss, its temperature, and a model that remembers both."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy_run
from toy_clip import FRAMES, TOY, make_network, make_params
from toy_umt import SMALL

import tempme_jax
from tempme_jax import methods
from tempme_jax.late_interaction import FrameVectors, scale_to_unit, score
from tempme_jax.losses import compute_contrastive_loss
from tempme_jax.model import Model
from tempme_jax.networks.backbones import make_network as make_backbone
from tempme_jax.networks.network import LOG_TAU
from tempme_jax.parameters import flatten, split
from tempme_jax.training.config import EvaluateSettings, TrainSettings
from tempme_jax.training.model import build_model, check_frames, set_pooling
from tempme_jax.training.objectives.contrastive import ContrastiveObjective
from tempme_jax.training.optim import make_optimizer
from tempme_jax.training.results import DIRECTIONS
from tempme_jax.training.run import run
from tempme_jax.training.standalone import evaluate_model

TEXT = TrainSettings(pooling="text", tau=0.2)


def draw_vectors():
    """What towers give: videos of three frames, of which one is missing, and as many texts."""
    rng = np.random.default_rng(0)
    text, frames = rng.standard_normal((6, 8)), rng.standard_normal((6, 3, 8))
    frames /= np.linalg.norm(frames, axis=-1, keepdims=True)
    weights = np.ones((6, 3))
    weights[2, 1] = 0
    mean = (frames * weights[:, :, None]).sum(1) / weights.sum(1)[:, None]
    return FrameVectors(*map(jnp.float32, (mean, frames, weights))), jnp.float32(text)


def compute_loss(tau, video, text):
    params = {"logit_scale": jnp.float32(0.7), "log_tau": jnp.float32(math.log(tau))}
    objective = ContrastiveObjective(make_network("tempme", tau=0.2))
    return float(objective.compute_loss(params, (video, text), {}, None))


@pytest.mark.parametrize("tau", [0.05, 1e6])
def test_the_loss_is_that_of_the_scores_of_all_pairs(tau):
    """With a high temperature: of the mean."""
    video, text = draw_vectors()
    unit = text / np.linalg.norm(text, axis=1, keepdims=True)
    scores, _ = score(unit, *scale_to_unit(video)[1:], tau)
    expected = compute_contrastive_loss(math.exp(0.7) * scores)
    np.testing.assert_allclose(compute_loss(tau, video, text), expected, rtol=1e-5)
    of_mean = compute_loss(tau, video.vectors, text)
    assert (abs(of_mean - expected) < 1e-5) == (tau > 1)


def test_the_temperature_does_not_decay_and_stays_positive():
    weights = {"log_tau": jnp.float32(-2), "kernel": jnp.ones(3)}
    optimizer = make_optimizer(TEXT, optax.constant_schedule(0.1))
    zeros = {name: jnp.zeros_like(array) for name, array in weights.items()}
    updates, _ = optimizer.update(zeros, optimizer.init(weights), weights)
    assert not updates["log_tau"] and updates["kernel"].all()
    limited = make_network("tempme", tau=0.2).limit({"log_tau": jnp.float32(-100)})
    assert math.exp(limited["log_tau"]) == pytest.approx(0.001)


def test_what_a_run_sets_and_takes_back():
    network = make_network("tempme")
    plain = Model(network, make_params(network), "tempme", FRAMES, 8)
    assert set_pooling(plain, TrainSettings()) is plain
    model = set_pooling(plain, TEXT)
    assert model.tau == pytest.approx(0.2) and LOG_TAU in model.drawn.paths
    assert LOG_TAU in flatten(split(model.network, model.params)[0])
    back = set_pooling(model, TrainSettings())
    assert not back.tau and flatten(back.params).keys() == flatten(plain.params).keys()
    assert back.drawn == plain.drawn


def test_what_cannot_be_compared_frame_by_frame():
    arch = dataclasses.replace(TOY, context_length=48)
    testa = make_backbone(arch, *methods.build("testa", arch, FRAMES, max_words=12))
    model = Model(testa, {}, "testa", FRAMES, 8)
    with pytest.raises(ValueError, match="train.pooling='text' .* TESTA merges .* clip, full"):
        set_pooling(model, TEXT)
    with pytest.raises(ValueError, match="evaluate.tau=0.1 compares .* TESTA merges"):
        check_frames(model, EvaluateSettings(tau=0.1))
    umt = make_backbone(SMALL, *methods.build("clip", SMALL, FRAMES, max_words=12))
    with pytest.raises(ValueError, match="'umt' trains with another; set it to 'mean'"):
        set_pooling(Model(umt, {}, "clip", FRAMES, 12), TEXT)
    check_frames(Model(umt, {}, "clip", FRAMES, 12), EvaluateSettings(tau=0.1))


@pytest.mark.slow
def test_a_run_remembers_its_pooling(tmp_path_factory, tmp_path):
    """Trained, measured, opened from the workdir and from a file: always by the same score."""
    settings = {"train.pooling": "text", "train.steps": 3, "train.evaluate_every": 0}
    config = toy_run.make_config(toy_run.make_home(tmp_path_factory), settings)
    measured = run(config, tmp_path / "run")
    opened = tempme_jax.load(tmp_path / "run")
    assert opened.tau > 0 and opened.tau != config.train.tau  # learned
    note = f"late interaction over frames, tau {opened.tau:.3g}"
    assert measured["protocol"]["notes"] == [note]
    file = str(tmp_path / "model.safetensors")
    opened.save(file)
    alone = evaluate_model(file, dataclasses.replace(config, train=TrainSettings()))
    assert alone["protocol"]["notes"] == [note]
    assert [alone[way] for way in DIRECTIONS] == [measured[way] for way in DIRECTIONS]
    mean = build_model(dataclasses.replace(config.model, weights=file), 0)
    assert mean.tau and not set_pooling(mean, TrainSettings()).tau
