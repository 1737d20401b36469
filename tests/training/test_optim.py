"""The optimiser takes the published steps, at the published rates."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from tempme_jax.adapters.base import Adapter
from tempme_jax.training import optim
from tempme_jax.training.config import TrainSettings
from tempme_jax.training.run import assign_rates

STEPS = 8
PEAK = 0.1
PUBLISHED = {"b1": 0.9, "b2": 0.999, "eps": 1e-6, "weight_decay": 0.2, "clip_norm": 1.0}


def rate_of(steps=STEPS, **settings):
    """The learning rate, by default with a warm-up of two of eight steps."""
    settings = {"learning_rate": PEAK, "warmup": 0.25} | settings
    return optim.make_learning_rate(TrainSettings(**settings), steps)


def optimizer_of(rate, rates=None, **settings):
    return optim.make_optimizer(TrainSettings(**settings), rate, rates)


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
        shrink = max(norm / clip_norm, 1.0) if clip_norm else 1.0
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
    [{}, {"weight_decay": 0.0}, {"clip_norm": 0.0}, {"clip_norm": 0.3}, {"eps": 0.1}, {"b1": 0.0}],
    ids=str,
)
def test_published_updates(changed):
    options = PUBLISHED | changed
    rate = rate_of()
    params, gradients = random_arrays(1, seed=20), gradients_of_all_steps()
    ours, _ = trained(optimizer_of(rate, **options), params, gradients)
    rates = [float(rate(step)) for step in range(STEPS)]
    expected = published(params, gradients, rates, **options)
    for name, array in expected.items():
        assert ours[name].dtype == jnp.float32
        # Rounding to single precision after each step is all that may differ.
        np.testing.assert_allclose(ours[name], array, rtol=1e-6, atol=1e-6, err_msg=name)


def test_defaults_are_the_published_options():
    defaults = dataclasses.asdict(TrainSettings())
    assert {name: defaults[name] for name in PUBLISHED} == PUBLISHED
    assert defaults["decay_biases"]


def test_epsilon_is_not_where_optax_has_it():
    """With a large epsilon the first step is 30 times smaller than optax's: 1 / sqrt(1 - b2)."""
    gradients = [{"a": np.full(2, 1e-3)}]
    ours, _ = trained(optim.scale_by_adam(0.9, 0.999, 1.0), {"a": np.zeros(2)}, gradients)
    with jax.numpy_dtype_promotion("standard"):
        theirs, _ = trained(optax.scale_by_adam(0.9, 0.999, 1.0), {"a": np.zeros(2)}, gradients)
    np.testing.assert_allclose(theirs["a"] / ours["a"], np.sqrt(1000), rtol=2e-3)


@pytest.mark.parametrize("eps", [1e-8, 0.1])
def test_adamw_is_that_of_optax(eps):
    """Which is that of PyTorch, whose weights decay before the update."""
    rate = rate_of()
    params, gradients = random_arrays(1, seed=20), gradients_of_all_steps()
    options = {"optimizer": "adamw", "eps": eps, "weight_decay": 0.2, "clip_norm": 0.0}
    ours, _ = trained(optimizer_of(rate, **options), params, gradients)
    with jax.numpy_dtype_promotion("standard"):
        theirs, _ = trained(optax.adamw(rate, eps=eps, weight_decay=0.2), params, gradients)
    for name, array in theirs.items():
        np.testing.assert_allclose(ours[name], array, rtol=2e-5, atol=1e-5)  # float32


@pytest.mark.parametrize("optimizer", ["tempme", "adamw"])
def test_vectors_may_stay_as_large_as_they_are(optimizer):
    """Numbers without a dimension decay."""
    params = {"table": np.ones((2, 2)), "vector": np.ones(3), "number": np.ones(())}
    still = [jax.tree.map(np.zeros_like, params)]
    options = {"optimizer": optimizer, "weight_decay": 0.5, "decay_vectors": False}
    ours, _ = trained(optimizer_of(optax.constant_schedule(0.1), **options), params, still)
    np.testing.assert_allclose(ours["vector"], 1)
    for name in ("table", "number"):
        np.testing.assert_allclose(ours[name], 1 - 0.1 * 0.5)


def test_the_rate_never_falls_below_the_least():
    rates = [float(rate_of(least_rate=0.3)(step)) for step in range(STEPS)]
    plain = [float(rate_of()(step)) for step in range(STEPS)]
    np.testing.assert_allclose(rates, np.maximum(plain, 0.3 * PEAK))
    assert plain[0] == 0 and rates[0] == pytest.approx(0.3 * PEAK)


def test_rates_by_hand():
    rate = rate_of(8, learning_rate=6e-4)
    half = 3e-4
    expected = [0, half, 2 * half] + [half * (1 + np.cos(np.pi * i / 6)) for i in range(1, 6)]
    np.testing.assert_allclose([rate(step) for step in range(8)], expected, rtol=1e-6)
    assert [float(rate(step)) for step in (8, 9, 1000)] == [0, 0, 0]
    assert rate(5) == pytest.approx(half, rel=1e-6)
    assert rate(jnp.int32(1)).dtype == jnp.float32


def test_warm_up_is_rounded_down_and_may_be_absent():
    rate = rate_of(19, learning_rate=1.0, warmup=0.1)
    np.testing.assert_allclose([rate(0), rate(1)], [0, 1])
    assert rate_of(9, learning_rate=1.0, warmup=0.1)(0) == 1
    assert rate_of(1, learning_rate=1.0, warmup=0.0)(0) == 1


def test_the_cosine_ends_at_the_final_rate():
    rate = rate_of(8, learning_rate=2.0, final_rate=0.1)
    tenth = 0.2 + 0.9 * (1 + np.cos(np.pi * np.arange(6) / 6))
    np.testing.assert_allclose([rate(step) for step in range(8)], [0, 1, *tenth], rtol=1e-6)
    np.testing.assert_allclose([rate(step) for step in (8, 9, 1000)], 0.2, rtol=1e-6)


def test_a_constant_rate_also_warms_up():
    rate = rate_of(8, learning_rate=0.3, schedule="constant", final_rate=0.5)
    np.testing.assert_allclose([rate(step) for step in range(3)], [0, 0.15, 0.3], rtol=1e-6)
    assert {float(rate(step)) for step in (2, 5, 7, 8, 1000)} == {float(np.float32(0.3))}
    assert rate_of(8, learning_rate=0.5, warmup=0.0, schedule="constant")(0) == 0.5


@pytest.mark.parametrize("steps", [0, -3])
def test_schedule_without_a_step_to_train_in(steps):
    with pytest.raises(ValueError, match="steps is"):
        rate_of(steps)


def one_step(params, **options):
    """What a step adds to weights whose gradients are all 1."""
    update = optimizer_of(lambda count: jnp.float32(0.1), clip_norm=0.0, **options)
    after, _ = trained(update, params, [jax.tree.map(np.ones_like, params)])
    return jax.tree.map(lambda a, b: float((a - b)[0]), after, params)


@dataclasses.dataclass(frozen=True)
class Slow(Adapter):
    """Learns one thing ten times more slowly than the others."""

    def choose_rate(self, path):
        return 0.1 if path == ("lstm", "kernel") else 1.0


def test_a_weight_of_a_slower_rate_by_hand():
    """Adam's first step is of length 1; without decay a tenth of the rate is a tenth of it."""
    params = {"lstm": {"kernel": np.full(1, 2.0)}, "prompt": np.full(1, 2.0)}
    rates = assign_rates(Slow(), params)
    moved = one_step(params, weight_decay=0.0, eps=1e-30, rates=rates)
    assert moved["prompt"] == pytest.approx(-0.1, rel=1e-5)
    assert moved["lstm"]["kernel"] == pytest.approx(-0.01, rel=1e-4)
    moved = one_step(params, weight_decay=0.5, eps=1e-30, rates=rates)
    assert 2 + moved["prompt"] == pytest.approx((2 - 0.1) * (1 - 0.1 * 0.5))
    assert 2 + moved["lstm"]["kernel"] == pytest.approx((2 - 0.01) * (1 - 0.01 * 0.5))


def test_weights_of_another_rate_move_as_if_they_had_an_optimiser_of_their_own():
    params, gradients = random_arrays(1, seed=20), gradients_of_all_steps()
    factors = {"lora_a": 0.02, "lora_b": 1.0, "clip_position": 3.0}
    rate = rate_of()
    options = {"b1": 0.9, "b2": 0.98, "eps": 1e-6, "weight_decay": 0.2, "clip_norm": 1.0}
    ours, _ = trained(optimizer_of(rate, factors, **options), params, gradients)
    for name, factor in factors.items():
        # Its gradients are clipped with those of all others.
        rates = [factor * float(rate(step)) for step in range(STEPS)]
        expected = published(params, gradients, rates, **options)[name]
        np.testing.assert_allclose(ours[name], expected, rtol=1e-6, atol=1e-6, err_msg=name)


def test_a_rate_of_one_adds_nothing():
    rate = rate_of()
    params, gradients = random_arrays(1, seed=20), gradients_of_all_steps()
    plain = trained(optimizer_of(rate), params, gradients)
    ones = jax.tree.map(lambda a: 1.0, params)
    with_rates = trained(optimizer_of(rate, ones), params, gradients)
    assert jax.tree.structure(with_rates) == jax.tree.structure(plain)
    jax.tree.map(np.testing.assert_array_equal, with_rates, plain)


def test_the_settings_of_a_run_are_those_of_its_optimiser():
    params = {"prompt": {"bias": np.full(1, 2.0)}, "lstm": {"kernel": np.full(1, 2.0)}}
    settings = TrainSettings(weight_decay=0.5, decay_biases=False, clip_norm=0.0, eps=1e-30)
    rate = lambda count: jnp.float32(0.1)  # noqa: E731
    update = optim.make_optimizer(settings, rate, assign_rates(Slow(), params))
    after, _ = trained(update, params, [jax.tree.map(np.ones_like, params)])
    np.testing.assert_allclose(after["prompt"]["bias"], 1.9, rtol=1e-5)
    np.testing.assert_allclose(after["lstm"]["kernel"], 1.99 * 0.995, rtol=1e-5)
    # The adapters that say nothing of rates learn everything at that of the recipe.
    assert set(jax.tree.leaves(assign_rates(Adapter(), params))) == {1.0}


@pytest.mark.parametrize("slow", [1.0, 0.1])
def test_biases_may_stay_as_large_as_they_are(slow):
    params = {
        "fc": {"kernel": np.full(1, 2.0), "bias": np.full(1, 2.0)},
        "bias_down": np.full(1, 2.0),
    }
    rates = {"fc": {"kernel": slow, "bias": slow}, "bias_down": 1.0}
    options = {"weight_decay": 0.5, "eps": 1e-30, "rates": rates}
    decayed = {factor: (2 - 0.1 * factor) * (1 - 0.05 * factor) - 2 for factor in (slow, 1.0)}
    expected = {"fc": {"kernel": decayed[slow], "bias": decayed[slow]}, "bias_down": decayed[1.0]}
    assert_moved(one_step(params, **options), expected)
    expected["fc"]["bias"] = -0.1 * slow
    assert_moved(one_step(params, decay_biases=False, **options), expected)


def assert_moved(moved, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), moved, expected)


def test_nothing_to_train():
    transformation = optimizer_of(rate_of())
    params, state = trained(transformation, {}, [{}, {}])
    assert params == {}
    assert [int(count) for count in jax.tree.leaves(state)] == [2, 2, 2]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {
            "rates": {"lora_a": 0.1, "lora_b": 1.0, "clip_position": 0.02},
            "decay_biases": False,
        },
    ],
    ids=["one rate", "many rates"],
)
def test_training_goes_on_from_a_saved_state(tmp_path, options):
    transformation = optimizer_of(rate_of(), **options)
    params, state = trained(transformation, random_arrays(1, seed=20), gradients_of_all_steps())
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", state)
        checkpointer.wait_until_finished()
        blank = transformation.init(jax.tree.map(jnp.zeros_like, params))
        restored = checkpointer.restore(tmp_path / "state", blank)
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, restored, state)
