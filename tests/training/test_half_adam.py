"""How much farther weights move by Adam in float16 than in float32, at one learning rate.

CLIP4Clip and MV-Adapter keep weights, gradients and both moments in float16. The second moment of
gradients as small as theirs underflows, so epsilon alone divides the first one.
"""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from repository import ROOT

from tempme_jax.training.config import TrainSettings
from tempme_jax.training.optim import make_learning_rate, make_optimizer

STEPS, SIZE = 200, 3000
B1, B2, EPS, DECAY = 0.9, 0.98, 1e-6, 0.2


def draw_weights():
    rng = np.random.default_rng(0)
    return (0.03 * rng.standard_normal(SIZE)).astype(np.float16)


def draw_gradients(norm, parameters):
    """Yield gradients of `norm`, of all parameters of the model; a tenth of each is the same.

    Their sizes differ by a factor of e between parameters.
    """
    rng = np.random.default_rng(1)
    scale = np.exp(rng.standard_normal(SIZE))
    scale *= norm / np.sqrt((scale**2).mean() * parameters)
    same = 0.1 * rng.standard_normal(SIZE)
    for _ in range(STEPS):
        yield scale * (same + 0.995 * rng.standard_normal(SIZE))


def move_in_half_precision(rate, gradients):
    """Return by how much the authors' Adam moves weights: root mean square.

    Every operation rounds to float16, as PyTorch's do; there is no bias correction.
    """
    start = p = draw_weights()
    m = v = np.zeros_like(p)
    for step, gradient in enumerate(gradients):
        g, done = gradient.astype(np.float16), step / STEPS
        m = compute_half(lambda m, g: B1 * m + (1 - B1) * g, m, g)
        v = compute_half(lambda v, g: B2 * v + (1 - B2) * g * g, v, g)
        root = compute_half(lambda root: root + EPS, compute_half(np.sqrt, v))
        update = compute_half(lambda m, root, p: m / root + DECAY * p, m, root, p)
        now = rate * (done / 0.1 if done < 0.1 else 0.5 * (1 + np.cos(np.pi * done)))
        p = compute_half(lambda p, update, now=now: p - np.float16(now * update), p, update)
    return np.sqrt(np.square(p.astype(np.float64) - start).mean())


def compute_half(function, *arrays):
    return np.asarray(function(*(a.astype(np.float32) for a in arrays)), np.float16)


def move_in_single_precision(rate, gradients):
    """Return by how much our optimiser moves the same weights."""
    settings = TrainSettings(
        learning_rate=rate, warmup=0.1, b1=B1, b2=B2, eps=EPS, weight_decay=DECAY, clip_norm=0.0
    )
    optimizer = make_optimizer(settings, make_learning_rate(settings, STEPS))

    @jax.jit
    def train(weights, gradients):
        def step(carry, gradient):
            weights, state = carry
            updates, state = optimizer.update({"kernel": gradient}, state, {"kernel": weights})
            return (weights + updates["kernel"], state), None

        state = optimizer.init({"kernel": weights})
        (weights, _), _ = jax.lax.scan(step, (weights, state), gradients)
        return weights

    start = jnp.asarray(draw_weights(), jnp.float32)
    moved = train(start, jnp.asarray(np.stack(list(gradients)), jnp.float32)) - start
    return float(jnp.sqrt(jnp.square(moved).mean()))


@pytest.mark.parametrize(
    ("method", "parameters", "norm", "least", "most"),
    [
        ("full", 123_540_993, 1.0, 30, 90),
        ("full", 123_540_993, 0.3, 5, 30),
        ("mv-adapter", 3_572_736, 1.0, 90, 250),
        ("mv-adapter", 3_572_736, 0.1, 30, 90),
    ],
)
def test_the_step_is_larger_in_half_precision(method, parameters, norm, least, most, monkeypatch):
    """At the published rates; at those of the recipe "single" weights move about as far."""
    monkeypatch.syspath_prepend(str(ROOT))
    common = importlib.import_module("configs.common")
    rate = common.RECIPES[method]["train"]["learning_rate"]
    far = move_in_half_precision(rate, draw_gradients(norm, parameters))
    near = move_in_single_precision(rate, draw_gradients(norm, parameters))
    assert least < far / near < most
    again = move_in_single_precision(common.SINGLE_RATES[method], draw_gradients(norm, parameters))
    assert 1 / 5 < again / far < 5
