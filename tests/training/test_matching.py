"""UMT's losses, gradients and training are those of the published code; laws of the negatives."""

import dataclasses
import functools

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from repository import ROOT
from toy_umt import KEY, WAYS, make, make_batch, make_small, read_params, take_largest

from tempme_jax.losses import (
    compute_contrastive_loss,
    compute_matching_loss,
    compute_soft_contrastive_loss,
    draw_hard_negatives,
)
from tempme_jax.training.config import TrainSettings
from tempme_jax.training.objectives.matching import MatchingObjective
from tempme_jax.training.optim import make_learning_rate, make_optimizer
from tempme_jax.training.step import TrainState, leave_unchanged, train_step
from tempme_jax.weights.layouts import write_layout

GOLDEN = np.load(ROOT / "tests/fixtures/reference/umt/objective.npz")
POSITION = "vision_encoder.encoder.blocks.{}.TVPt_Video_Positional_embedding"


def publish(tree):
    """Return arrays by the names of the fine-tuned model."""
    flat = {path: np.asarray(a) for path, a in flax.traverse_util.flatten_dict(tree).items()}
    positions = {p: flat.pop(p) for p in list(flat) if p[-1] == "clip_position"}
    named = {POSITION.format(p[1].removeprefix("block_")): a for p, a in positions.items()}
    return write_layout("umt_retrieval", flat) | named


def pick(array, count):
    flat = np.asarray(array).ravel()
    return flat[np.linspace(0, flat.size - 1, count).astype(int)]


def is_key_bias(name):
    """Its gradient is zero but for rounding."""
    return name.endswith(".key.bias")


def assert_close(ours, golden, what, scale=None):
    error = np.abs(np.asarray(ours) - golden).max() / (scale or np.abs(golden).max())
    assert np.shape(ours) == np.shape(golden) and error < 1e-5, f"{what}: {error:.1e}"


@pytest.mark.parametrize(
    "name",
    ["tiny_umt", pytest.param("tiny_umt4clip", marks=pytest.mark.slow), "tiny_umt4clip_tempme"],
)
def test_losses_and_gradients_as_published(name):
    golden = {k.removeprefix(f"{name}/"): v for k, v in GOLDEN.items() if k.startswith(f"{name}/")}
    objective, params, batch = make(name), read_params(name), make_batch(name)

    compute = jax.jit(lambda *given: objective.compute_gradients(*given))
    loss, gradients = compute(params, {}, batch, KEY)
    assert_close(loss, golden["loss_vtc"] + golden["loss_vtm"], "the sum of the losses")
    ours = publish(gradients)
    assert set(ours) == set(golden["norm_names"].tolist())
    for array, norm in zip(golden["norm_names"], golden["norms"], strict=True):
        if not is_key_bias(array):
            assert_close(np.linalg.norm(ours[array]), norm, f"norm of {array}")
    rows = golden["grad_names"], golden["grads"], golden["largest"]
    for array, values, largest in zip(*rows, strict=True):
        if not is_key_bias(array):
            assert_close(pick(ours[array], 16), values, array, largest)


def compute_parts(objective, params, batch, key=KEY):
    """Return both losses of a batch."""
    compute = jax.jit(
        lambda params, batch: objective.compute_losses(
            params, objective.encode(params, batch, key), batch, key
        )
    )
    return compute(params, batch)


def test_each_loss_as_published_and_its_weight():
    name = "tiny_umt4clip"
    objective, params, batch = make(name), read_params(name), make_batch(name)
    vtc, vtm = compute_parts(objective, params, batch)
    assert_close(vtc, GOLDEN[f"{name}/loss_vtc"], "VTC")
    assert_close(vtm, GOLDEN[f"{name}/loss_vtm"], "VTM")
    settings = TrainSettings()
    weighted = MatchingObjective.make(objective.network, settings, seed=3)
    assert (weighted.vtc_weight, weighted.negative_group, weighted.seed) == (1 / 8, 32, 3)


def test_the_negatives_are_those_of_the_published_code():
    """By the golden cosines, of which the temperature is 0.07."""
    towers = np.load(ROOT / "tests/fixtures/reference/umt/towers.npz")
    same = np.array([0, 1, 2, 0])[:, None] == np.array([0, 1, 2, 0])
    for name in WAYS:
        logits = jnp.asarray(towers[f"{name}/cosine_v2t"].T / 0.07)  # [texts, videos]
        for table, of in ((logits, "video_of_text"), (logits.T, "text_of_video")):
            drawn, any_wrong = draw_hard_negatives(KEY, table, jnp.asarray(same), draw=take_largest)
            np.testing.assert_array_equal(drawn, GOLDEN[f"{name}/negative_{of}"])
            assert any_wrong.all()


@pytest.mark.slow
def test_six_steps_as_published():
    golden = {
        k.removeprefix("training/"): v for k, v in GOLDEN.items() if k.startswith("training/")
    }
    settings = TrainSettings(
        optimizer="adamw", learning_rate=1e-3, warmup=2 / 6, least_rate=0.01, weight_decay=0.02,
        eps=1e-8, clip_norm=0.0, decay_vectors=False,
    )  # fmt: skip
    rate = make_learning_rate(settings, 6)
    optimizer = make_optimizer(settings, rate)
    params = jax.tree.map(jnp.array, read_params("tiny_umt"))
    state = TrainState(jnp.int32(0), params, optimizer.init(params))
    objective = make("tiny_umt")
    for step in range(6):
        assert_close(rate(step), golden["learning_rate"][step], f"rate of step {step}")
        batch = make_batch(f"train.{step}", 100 + step, range(4))
        state, measured = train_step(objective, optimizer, leave_unchanged, state, {}, batch)
        assert_close(measured["loss"], golden["loss"][step], f"loss of step {step}")
        norm = measured["gradient_norm"]
        assert_close(norm, golden["grad_norm"][step], f"gradient norm of step {step}")
        assert_close(state.trainable["temperature"], golden["temp"][step], f"temperature {step}")
    ours = publish(state.trainable)
    for name, values in golden.items():
        if name.startswith("param/"):
            array = np.asarray(ours[name.removeprefix("param/")])
            array = pick(array, 64) if array.size > 64 else array
            assert_close(array, values, name)


def test_the_learning_rate_is_the_published_one():
    settings = TrainSettings(learning_rate=1e-5, warmup=0.1, least_rate=0.01)
    rates = jax.vmap(make_learning_rate(settings, 100))(jnp.arange(100))
    np.testing.assert_allclose(rates, GOLDEN["learning_rate"], rtol=1e-5)


@pytest.mark.slow
def test_parts_give_the_gradients_of_the_whole():
    """Right pairs, and wrong ones, are of other parts, too."""
    whole, params, batch = make_small()
    found = []
    for rows in (0, 2):
        objective = dataclasses.replace(whole, gradient_cache=rows)
        compute = jax.jit(lambda *given, objective=objective: objective.compute_gradients(*given))
        found.append(compute(params, {}, batch, KEY))
    (loss, expected), (value, gradients) = found
    np.testing.assert_allclose(value, loss, rtol=1e-6)
    scale = max(np.abs(a).max() for a in jax.tree.leaves(expected))
    for ours, theirs in zip(jax.tree.leaves(gradients), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * scale)


def test_what_a_step_drops_follows_from_the_seed_and_the_step():
    """Videos, in whose first block nothing is dropped, and texts."""
    objective, params, batch = make_small(depth=2, drop_path=0.5, dropout=0.5)

    @functools.partial(jax.jit, static_argnums=0)
    def compute(objective, step):
        video, _, text, _ = objective.encode(params, batch, objective.make_key(step))
        return video, text

    quiet = dataclasses.replace(
        objective, network=objective.network.copy(drop_path=0.0, dropout=0.0)
    )
    first = compute(objective, 3)
    found = compute(objective, 3), compute(objective, 4), compute(quiet, 3)
    for kind in (0, 1):
        again, *different = (np.asarray(vectors[kind]) for vectors in found)
        np.testing.assert_array_equal(first[kind], again)
        assert all((other != again).any() for other in different)
    np.testing.assert_array_equal(found[2][0], compute(quiet, 4)[0])
    assert dataclasses.replace(objective, seed=1).make_key(3) != objective.make_key(3)


def test_soft_targets_of_pairs_alone_are_the_contrastive_loss():
    logits = jax.random.normal(KEY, (5, 5))
    loss = compute_soft_contrastive_loss(logits, jnp.eye(5, dtype=bool))
    np.testing.assert_allclose(loss, compute_contrastive_loss(logits), rtol=1e-6)


def test_soft_targets_by_hand():
    """Both rows are of one video: each target is a half, and of equal logits the loss is log 2."""
    loss = compute_soft_contrastive_loss(jnp.zeros((2, 2)), jnp.ones((2, 2), bool))
    np.testing.assert_allclose(loss, np.log(2), rtol=1e-6)
    logits = jnp.array([[np.log(3.0), 0.0], [np.log(3.0), 0.0]])
    # Rows: -(log 3/4 + log 1/4) / 2; columns: log 2.
    expected = (-(np.log(3 / 4) + np.log(1 / 4)) / 2 + np.log(2)) / 2
    found = compute_soft_contrastive_loss(logits, jnp.ones((2, 2), bool))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_negatives_are_of_other_videos_and_of_the_group():
    videos = np.array([0, 0, 1, 2, 3, 3, 3, 4, 5, 6])
    same = jnp.asarray(videos[:, None] == videos)
    logits = jnp.where(same, 50.0, jax.random.normal(KEY, (10, 10)))
    draw = jax.jit(jax.vmap(lambda key: draw_hard_negatives(key, logits, same, group=4)[0]))
    drawn = np.asarray(draw(jax.random.split(KEY, 500)))
    assert (videos[drawn] != videos).all()
    rows = np.broadcast_to(np.arange(10), drawn.shape)
    assert (drawn[:, :8] // 4 == rows[:, :8] // 4).all()
    assert set(drawn[:, 9].tolist()) == {6, 7, 8}  # the last group has the four last rows


def test_negatives_are_drawn_in_proportion_to_their_weights():
    logits = jnp.log(jnp.array([[5.0, 3.0, 1.0, 1.0]] * 4))
    same = jnp.eye(4, dtype=bool)
    draw = jax.jit(jax.vmap(lambda key: draw_hard_negatives(key, logits, same)[0]))
    drawn = np.asarray(draw(jax.random.split(KEY, 20_000)))
    shares = np.bincount(drawn[:, 0], minlength=4) / len(drawn)
    np.testing.assert_allclose(shares, [0, 0.6, 0.2, 0.2], atol=0.012)


def test_a_group_of_one_video_has_no_negatives():
    drawn, any_wrong = draw_hard_negatives(KEY, jnp.zeros((3, 3)), jnp.ones((3, 3), bool))
    assert not any_wrong.any()
    logits = jnp.array([[0.0, np.log(3.0)], [0.0, 100.0]])
    loss = compute_matching_loss(logits, jnp.array([1, 0]), jnp.array([True, False]))
    np.testing.assert_allclose(loss, -np.log(3 / 4), rtol=1e-6)
