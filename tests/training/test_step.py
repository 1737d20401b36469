"""A step changes what trains by the gradients of the whole batch, on any number of devices."""

import dataclasses
import functools
import os
import subprocess
import sys

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from repository import ROOT, SUPPORT
from toy_clip import FRAMES, TOY, make_batch, make_network, make_params

from tempme_jax import heap
from tempme_jax.adapters.base import Adapter
from tempme_jax.networks.clip import LARGEST_LOGIT_SCALE, Clip
from tempme_jax.parameters import split
from tempme_jax.reducers.base import Reducer
from tempme_jax.training.config import TrainSettings
from tempme_jax.training.objectives.contrastive import ContrastiveObjective
from tempme_jax.training.optim import make_learning_rate, make_optimizer
from tempme_jax.training.sharding import make_mesh, place_batch, place_params
from tempme_jax.training.step import (
    Augmentation,
    CompiledSteps,
    TrainState,
    leave_unchanged,
    make_state,
    train_step,
)

KEY = jax.random.key(0)


def parts_of(method):
    network = make_network(method)
    return network, *split(network, make_params(network))


def gradients_of(network, trainable, frozen, batch, gradient_cache=0):
    objective = ContrastiveObjective(network, gradient_cache)
    return jax.jit(lambda *given: objective.compute_gradients(*given))(
        trainable, frozen, jax.tree.map(jnp.asarray, batch), KEY
    )


@functools.cache
def whole(method):
    """The loss and the gradients of a batch at once."""
    return gradients_of(*parts_of(method), make_batch())


def assert_same(ours, expected, tolerance=1e-5):
    """Each array to a share of its norm."""
    assert jax.tree.structure(ours) == jax.tree.structure(expected)
    ours = flax.traverse_util.flatten_dict(ours)
    for path, array in flax.traverse_util.flatten_dict(expected).items():
        norm = np.linalg.norm(array)
        assert norm > 0, path
        assert np.linalg.norm(ours[path] - array) < tolerance * norm, path


@dataclasses.dataclass(frozen=True)
class Means:
    """In place of CLIP, what compiles in no time: pixels and ids, times matrices."""

    reducer: Reducer = Reducer()
    adapter: Adapter = Adapter()
    arch = TOY
    unit_videos = True
    drop_path = dropout = tau = 0.0
    compute_scale = staticmethod(Clip.compute_scale)
    limit = staticmethod(Clip.limit)

    def apply(self, variables, pixels, frame_mask, ids, text_mask):
        params = variables["params"]
        video = pixels.mean(axis=(1, 4)).reshape(len(pixels), -1) @ params["video"]
        return video, ids.astype(jnp.float32) @ params["text"]

    def parts(self):
        rng = np.random.default_rng(0)
        video, text = (rng.standard_normal((n, 8), dtype=np.float32) for n in (16 * 16, 6))
        trainable = {"video": jnp.asarray(video), "logit_scale": jnp.float32(1)}
        return self, trainable, {"text": jnp.asarray(text)}


@pytest.mark.parametrize("rows", [1, 4, 8])
def test_parts_of_any_size_give_the_gradients_of_the_whole(rows):
    loss, expected = gradients_of(*Means().parts(), make_batch())
    value, gradients = gradients_of(*Means().parts(), make_batch(), rows)
    np.testing.assert_allclose(value, loss, rtol=1e-6)
    assert_same(gradients, expected)


@dataclasses.dataclass(frozen=True)
class InOrder(ContrastiveObjective):
    """Every pair weighs as much as its place, so that it must be known."""

    def compute_loss(self, params, encoded, batch, key):
        place = 1 + batch["place"].astype(jnp.float32)
        losses = -jnp.diagonal(jax.nn.log_softmax(self.compare(params, *encoded)))
        return (place * losses).mean()


def test_parts_keep_the_order_of_the_batch():
    network, trainable, frozen = Means().parts()
    batch = jax.tree.map(jnp.asarray, make_batch())
    loss, expected = InOrder(network).compute_gradients(trainable, frozen, batch, KEY)
    value, gradients = InOrder(network, 2).compute_gradients(trainable, frozen, batch, KEY)
    np.testing.assert_allclose(value, loss, rtol=1e-6)
    assert_same(gradients, expected)


@pytest.mark.parametrize(("method", "rows"), [("tempme", 2), ("full", 4)])
def test_parts_give_the_gradients_of_the_whole(method, rows):
    loss, expected = whole(method)
    assert ("logit_scale" in expected) == (method == "full")
    value, gradients = gradients_of(*parts_of(method), make_batch(), rows)
    np.testing.assert_allclose(value, loss, rtol=1e-6)
    assert_same(gradients, expected)


def test_blocks_computed_again_give_the_same():
    loss, expected = whole("tempme")
    _, trainable, frozen = parts_of("tempme")
    network = make_network("tempme", remat=True)
    value, gradients = gradients_of(network, trainable, frozen, make_batch())
    np.testing.assert_allclose(value, loss, rtol=1e-6)
    assert_same(gradients, expected)


def test_the_loss_is_the_symmetric_cross_entropy_of_the_whole_batch():
    """By hand: NumPy and double precision."""
    rng = np.random.default_rng(0)
    video, text = rng.standard_normal((2, 6, 8))
    a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (text, video))
    logits = np.exp(0.7) * (a @ b.T)
    rows = np.log(np.exp(logits).sum(axis=1)) - np.diag(logits)
    columns = np.log(np.exp(logits).sum(axis=0)) - np.diag(logits)
    expected = (rows.mean() + columns.mean()) / 2
    params = {"logit_scale": jnp.float32(0.7)}
    vectors = jnp.float32(video), jnp.float32(text)
    loss = ContrastiveObjective(Means()).compute_loss(params, vectors, {}, KEY)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


@pytest.mark.parametrize("rows", [0, 4])
def test_a_temperature_takes_the_place_of_clips(rows):
    network, trainable, frozen = Means().parts()
    batch = jax.tree.map(jnp.asarray, make_batch())
    warm = {**trainable, "logit_scale": jnp.float32(-np.log(0.07))}
    loss, expected = ContrastiveObjective(network).compute_gradients(warm, frozen, batch, KEY)
    value, gradients = ContrastiveObjective(network, rows, temperature=0.07).compute_gradients(
        trainable, frozen, batch, KEY
    )
    np.testing.assert_allclose(value, loss, rtol=1e-6)
    assert_same({"video": gradients["video"]}, {"video": expected["video"]})
    assert gradients["logit_scale"] == 0 != expected["logit_scale"]


def test_a_temperature_by_hand():
    """Two pairs with cosines [[1, 0], [0, 1]]: of each row and column -log of e^2 in e^2 + 1."""
    objective = ContrastiveObjective(Means(), temperature=0.5)
    params, vectors = {"logit_scale": jnp.float32(3)}, (5 * jnp.eye(2), 4 * jnp.eye(2))
    loss = objective.compute_loss(params, vectors, {}, KEY)
    np.testing.assert_allclose(loss, np.log(1 + np.exp(-2)), rtol=1e-6)


@dataclasses.dataclass(frozen=True)
class Penalised(Reducer):
    """Adds what depends on a parameter that trains, one that is frozen, and the sizes."""

    def compute_penalty(self, params, arch, frames):
        return frames * arch.patches * params["logit_scale"] * params["text"].sum()


@pytest.mark.parametrize("rows", [0, 1, 4])
def test_what_a_reducer_adds_to_the_loss_counts_once(rows):
    """Its gradients, too, however many parts the batch is cut into."""
    network, trainable, frozen = Means(Penalised()).parts()
    loss, expected = gradients_of(Means(), trainable, frozen, make_batch())
    value, gradients = gradients_of(network, trainable, frozen, make_batch(), rows)
    slope = FRAMES * TOY.patches * float(frozen["text"].sum())
    np.testing.assert_allclose(value, loss + slope * 1.0, rtol=1e-5)
    expected = {**expected, "logit_scale": expected["logit_scale"] + slope}
    assert_same(gradients, expected)


def test_a_step_changes_what_trains_and_nothing_else():
    network, trainable, frozen = Means().parts()
    settings = TrainSettings(learning_rate=1e-2, warmup=0.0)
    update = make_optimizer(settings, make_learning_rate(settings, 10))
    before = jax.tree.map(np.array, (trainable, frozen))
    batch = jax.tree.map(jnp.asarray, make_batch())
    loss, gradients = gradients_of(network, trainable, frozen, batch)
    state = TrainState(jnp.int32(0), trainable, update.init(trainable))
    objective = ContrastiveObjective(network)
    state, measured = train_step(objective, update, leave_unchanged, state, frozen, batch)
    assert int(state.step) == 1
    np.testing.assert_allclose(measured["loss"], loss, rtol=1e-6)
    np.testing.assert_allclose(measured["gradient_norm"], optax.tree.norm(gradients), rtol=1e-5)
    np.testing.assert_array_equal(frozen["text"], before[1]["text"])
    assert state.trainable.keys() == before[0].keys()
    assert all((np.asarray(state.trainable[name]) != a).any() for name, a in before[0].items())
    state, later = train_step(objective, update, leave_unchanged, state, frozen, batch)
    assert (int(state.step), float(later["loss"]) < float(measured["loss"])) == (2, True)


def test_compiled_steps_are_those_of_each_objective(monkeypatch):
    def make(step):
        state = TrainState(jnp.int32(0), {"logit_scale": jnp.float32(1)}, update.init({}))
        for objective in (Slope(), Slope(-2.0), Slope()):
            state, _ = step(objective, state)
        return int(state.step), float(state.trainable["logit_scale"])

    update, compiled = optax.sgd(0.5), []
    monkeypatch.setattr(heap, "return_freed_memory", lambda: compiled.append(1))
    steps = CompiledSteps(update, leave_unchanged, {})
    expected = make(lambda one, state: train_step(one, update, leave_unchanged, state, {}, {}))
    assert make(lambda one, state: steps.make(one, state, {})) == expected == (3, 1.0)
    assert len(compiled) == 2


@dataclasses.dataclass(frozen=True)
class Slope:
    """An objective that becomes smaller as every parameter grows."""

    steepness: float = 1.0
    network = Means()

    def make_key(self, step):
        return KEY

    def compute_gradients(self, trainable, frozen, batch, key):
        return jnp.float32(0), jax.tree.map(lambda a: jnp.full_like(a, -self.steepness), trainable)


def test_the_first_state_is_placed_as_every_step_leaves_it():
    """Else the second step would be compiled anew."""
    mesh, update = make_mesh(-1, 1), optax.sgd(0.5, momentum=0.9)
    trainable = place_params(mesh, {"logit_scale": np.float32(1)}, split=False)
    state = make_state(trainable, update, mesh)
    first = jax.tree.map(lambda array: array.sharding, state)
    later, _ = CompiledSteps(update, leave_unchanged, {}).make(Slope(), state, {})
    assert jax.tree.map(lambda array: array.sharding, later) == first


def test_the_temperature_is_clamped():
    def after(start):
        trainable = {"logit_scale": jnp.float32(start), "other": jnp.full(2, start)}
        update = optax.sgd(0.5)
        state = TrainState(jnp.int32(0), trainable, update.init(trainable))
        return train_step(Slope(), update, leave_unchanged, state, {}, {})[0].trainable

    np.testing.assert_allclose(after(1.0)["logit_scale"], 1.5)
    np.testing.assert_allclose(np.exp(after(4.5)["logit_scale"]), 100, rtol=1e-6)
    assert after(4.5)["logit_scale"] == LARGEST_LOGIT_SCALE
    np.testing.assert_allclose(after(4.5)["other"], 5.0)


def test_what_augmentation_makes_of_a_row_depends_on_its_place_alone():
    mesh = make_mesh(-1, 1)
    augment = jax.jit(Augmentation(mesh, seed=3))
    batch = make_batch(4)

    def augmented(order, batch):
        given = {name: rows[order] for name, rows in batch.items()}
        return np.asarray(augment(place_batch(mesh, given))["frames"])

    frames = augmented(np.arange(4), batch)
    assert (frames != batch["frames"]).any()
    order = np.array([2, 0, 3, 1])
    np.testing.assert_array_equal(augmented(order, batch), frames[order])
    others = {**batch, "frames": batch["frames"].copy()}
    others["frames"][:3] = 255 - others["frames"][:3]
    np.testing.assert_array_equal(augmented(np.arange(4), others)[3], frames[3])
    moved = {**batch, "place": batch["place"] + 4}
    assert (augmented(np.arange(4), moved) != frames).any()


@pytest.mark.processes
def test_eight_devices_train_as_one():
    """The same losses over ten steps, in parts, too, and with kernels split over two devices."""
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count=8 {os.environ['XLA_FLAGS']}".strip(),
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, SUPPORT, ROOT / "tests"))),
    }
    done = subprocess.run(
        [sys.executable, SUPPORT / "many_devices.py"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1x1", "4x2", "frames", "augmented"]
