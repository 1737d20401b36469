"""The optimiser takes the published steps, at the published rates."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from tempme_jax import optim

STEPS = 8
PEAK = 0.1


def random_arrays(scale, seed):
    generator = np.random.default_rng(seed)
    shapes = {"lora_a": (3, 4), "lora_b": (4, 2), "clip_position": (5,)}
    return {name: scale * generator.standard_normal(shape) for name, shape in shapes.items()}


def gradients_of_all_steps():
    """Small ones, that are not clipped, and large ones, that are."""
    return [random_arrays(scale, seed) for seed, scale in enumerate([0.01, 1, 0.1, 5] * 2)]


def published(params, gradients, rates, *, b1, b2, eps, weight_decay, clip_norm):
    """The update of the TempMe code, one number at a time and in double precision."""
    params = {name: a.copy() for name, a in params.items()}
    first = {name: np.zeros_like(a) for name, a in params.items()}
    second = {name: np.zeros_like(a) for name, a in params.items()}
    for step, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        norm = np.sqrt(sum((g * g).sum() for g in gradient.values()))
        shrink = 1.0 if clip_norm is None else max(norm / clip_norm, 1.0)
        for name, array in params.items():
            for index in np.ndindex(array.shape):
                g = gradient[name][index] / shrink
                first[name][index] = b1 * first[name][index] + (1 - b1) * g
                second[name][index] = b2 * second[name][index] + (1 - b2) * g * g
                size = rate * np.sqrt(1 - b2**step) / (1 - b1**step)
                array[index] -= size * first[name][index] / (np.sqrt(second[name][index]) + eps)
                array[index] -= array[index] * rate * weight_decay
    return params


def trained(transformation, params, gradients):
    params = jax.tree.map(jnp.float32, params)
    state = transformation.init(params)

    @jax.jit
    def step(params, state, gradient):
        updates, state = transformation.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    for gradient in gradients:
        params, state = step(params, state, jax.tree.map(jnp.float32, gradient))
    return params, state


@pytest.mark.parametrize(
    "changed",
    [{}, {"weight_decay": 0.0}, {"clip_norm": None}, {"clip_norm": 0.3}, {"eps": 0.1}, {"b1": 0.0}],
    ids=str,
)
def test_published_updates(changed):
    options = {"b1": 0.9, "b2": 0.999, "eps": 1e-6, "weight_decay": 0.2, "clip_norm": 1.0} | changed
    rate = optim.learning_rate(PEAK, STEPS, 0.25)
    params, gradients = random_arrays(1, seed=20), gradients_of_all_steps()
    ours, _ = trained(optim.optimizer(rate, **options), params, gradients)
    rates = [float(rate(step)) for step in range(STEPS)]
    expected = published(params, gradients, rates, **options)
    for name, array in expected.items():
        assert ours[name].dtype == jnp.float32
        # Rounding to single precision after each step is all that may differ.
        np.testing.assert_allclose(ours[name], array, rtol=1e-6, atol=1e-6, err_msg=name)


def test_defaults_are_the_published_options():
    rate = optim.learning_rate(PEAK, STEPS, 0.25)
    params, gradients = random_arrays(1, seed=20), gradients_of_all_steps()
    ours, _ = trained(optim.optimizer(rate), params, gradients)
    spelt_out = optim.optimizer(rate, b1=0.9, b2=0.999, eps=1e-6, weight_decay=0.2, clip_norm=1.0)
    jax.tree.map(np.testing.assert_array_equal, ours, trained(spelt_out, params, gradients)[0])


def test_epsilon_is_not_where_optax_has_it():
    """With a large epsilon the first step is 30 times smaller than optax's: 1 / sqrt(1 - b2)."""
    gradients = [{"a": np.full(2, 1e-3)}]
    ours, _ = trained(optim.scale_by_adam(0.9, 0.999, 1.0), {"a": np.zeros(2)}, gradients)
    with jax.numpy_dtype_promotion("standard"):
        theirs, _ = trained(optax.scale_by_adam(0.9, 0.999, 1.0), {"a": np.zeros(2)}, gradients)
    np.testing.assert_allclose(theirs["a"] / ours["a"], np.sqrt(1000), rtol=2e-3)


def test_rates_by_hand():
    rate = optim.learning_rate(6e-4, 8, 0.25)
    half = 3e-4
    expected = [0, half, 2 * half] + [half * (1 + np.cos(np.pi * i / 6)) for i in range(1, 6)]
    np.testing.assert_allclose([rate(step) for step in range(8)], expected, rtol=1e-6)
    assert [float(rate(step)) for step in (8, 9, 1000)] == [0, 0, 0]
    assert rate(5) == pytest.approx(half, rel=1e-6)
    assert rate(jnp.int32(1)).dtype == jnp.float32


def test_warm_up_is_rounded_down_and_may_be_absent():
    rate = optim.learning_rate(1.0, 19, 0.1)
    np.testing.assert_allclose([rate(0), rate(1)], [0, 1])
    assert optim.learning_rate(1.0, 9, 0.1)(0) == 1
    assert optim.learning_rate(1.0, 1, 0.0)(0) == 1


@pytest.mark.parametrize("steps, share", [(0, 0.1), (-3, 0.1), (10, 1.0), (10, -0.1)])
def test_schedule_without_a_step_to_train_in(steps, share):
    with pytest.raises(ValueError, match="warmup_share" if steps > 0 else "steps is"):
        optim.learning_rate(1.0, steps, share)


def test_nothing_to_train():
    transformation = optim.optimizer(optim.learning_rate(PEAK, STEPS, 0.25))
    params, state = trained(transformation, {}, [{}, {}])
    assert params == {}
    assert [int(count) for count in jax.tree.leaves(state)] == [2, 2, 2]


def test_training_goes_on_from_a_saved_state(tmp_path):
    transformation = optim.optimizer(optim.learning_rate(PEAK, STEPS, 0.25))
    params, state = trained(transformation, random_arrays(1, seed=20), gradients_of_all_steps())
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", state)
        checkpointer.wait_until_finished()
        blank = transformation.init(jax.tree.map(jnp.zeros_like, params))
        restored = checkpointer.restore(tmp_path / "state", blank)
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, restored, state)
