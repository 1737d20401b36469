"""Train for ten steps on one device and on eight; test_step.py runs this in its own process."""

import conftest  # noqa: F401  (the same strict arithmetic)
import jax
import numpy as np
from toy_clip import make_batch, make_network, make_params

from tempme_jax.parameters import split
from tempme_jax.training import sharding
from tempme_jax.training.config import TrainSettings
from tempme_jax.training.objectives.contrastive import ContrastiveObjective
from tempme_jax.training.optim import make_learning_rate, make_optimizer
from tempme_jax.training.sharding import Mesh, place, place_batch, place_params, replicate
from tempme_jax.training.step import Augmentation, TrainState, leave_unchanged, train_step

STEPS = 10
sharding.LEAST_SPLIT = 64  # splits the toy's kernels, too


def make_mesh(data, model):
    devices = np.array(jax.devices()[: data * model]).reshape(data, model)
    return Mesh(devices, ("data", "model"))


def train(data, model, gradient_cache=0):
    """Return the losses and the last parameters on data x model devices."""
    mesh = make_mesh(data, model)
    network = make_network("tempme")
    trainable, frozen = split(network, make_params(network))
    trainable = place_params(mesh, trainable, split=False)
    frozen = place_params(mesh, frozen, split=True)
    halved = [a for a in jax.tree.leaves(frozen) if not a.sharding.is_fully_replicated]
    assert len(halved) == (9 if model > 1 else 0)
    settings = TrainSettings(learning_rate=1e-2, warmup=0.2)
    update = make_optimizer(settings, make_learning_rate(settings, STEPS))
    initial = jax.jit(update.init, out_shardings=replicate(mesh))(trainable)
    state = TrainState(place(replicate(mesh), np.int32(0)), trainable, initial)
    objective = ContrastiveObjective(network, gradient_cache)
    losses = []
    for step in range(STEPS):
        batch = place_batch(mesh, make_batch(16, seed=step))
        state, measured = train_step(objective, update, leave_unchanged, state, frozen, batch)
        losses.append(float(measured["loss"]))
    return np.array(losses), [np.asarray(a) for a in jax.tree.leaves(state.trainable)]


def compare_frames(data, model, gradient_cache=0):
    """Return loss and gradients if texts are compared with the frames of all devices' videos."""
    mesh = make_mesh(data, model)
    network = make_network("tempme", tau=0.1)
    trainable, frozen = split(network, make_params(network))
    placed = (
        place_params(mesh, tree, split=large) for tree, large in ((trainable, 0), (frozen, 1))
    )
    compute = jax.jit(ContrastiveObjective(network, gradient_cache).compute_gradients)
    loss, slopes = compute(*placed, place_batch(mesh, make_batch(16)), jax.random.key(0))
    return float(loss), [np.asarray(a) for a in jax.tree.leaves(slopes)]


def augment(data, model):
    """Return the frames of a batch after augmentation."""
    mesh = make_mesh(data, model)
    return np.asarray(jax.jit(Augmentation(mesh, 0))(place_batch(mesh, make_batch()))["frames"])


def main():
    assert len(jax.devices()) == 8
    expected, arrays = train(1, 1)
    print("1x1")
    losses, others = train(4, 2, 8)  # 8 x 1 is what test_distributed.py trains on
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    for ours, theirs in zip(others, arrays, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())
    print("4x2")
    (loss, slopes), (expected, others) = compare_frames(4, 2, 8), compare_frames(1, 1)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    for ours, theirs in zip(slopes, others, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())
    print("frames")
    np.testing.assert_array_equal(augment(4, 2), augment(1, 1))
    print("augmented")


if __name__ == "__main__":
    main()
