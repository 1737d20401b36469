"""The optimisers: AdamW as in the TempMe code, and that of Optax and PyTorch.

Two things differ between them: in the first, epsilon is added before the bias correction of the
second moment, and the weights decay after the Adam update, not beside it.
"""

import functools
import math
import operator

import flax.traverse_util
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from tempme_jax.networks.network import LOG_TAU
from tempme_jax.parameters import flatten
from tempme_jax.training.config import TrainSettings


def make_learning_rate(settings: TrainSettings, steps: int) -> optax.Schedule:
    """Return the learning rate as a function of the step.

    It rises linearly from 0 to the peak; then it follows half a cosine down, or stays there. It is
    never below `least_rate` of the peak.

    Args:
        settings: learning_rate, warmup (its steps are rounded down), schedule, final_rate and
            least_rate.
        steps: steps of the whole training; the rate of step `steps` is that of the end.

    Returns:
        A function of the step, counted from 0, that gives a float32 rate.

    Raises:
        ValueError: if no step is left to train in.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; a training has at least 1 step.")
    end = settings.final_rate if settings.schedule == "cosine" else 1.0
    rate = optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=settings.learning_rate,
        warmup_steps=int(settings.warmup * steps),
        decay_steps=steps,
        end_value=settings.learning_rate * end,
    )
    least = settings.least_rate * settings.learning_rate
    return lambda count: jnp.maximum(rate(jnp.asarray(count, jnp.float32)), least)


def make_optimizer(
    settings: TrainSettings, rate: optax.Schedule, rates: dict | None = None
) -> optax.GradientTransformation:
    """Return the optimiser.

    That of the TempMe code (https://github.com/LunarShen/TempMe) is "tempme". Step t, counted from
    0, turns weights p with gradients g into

        g = g / max(norm(g) / clip_norm, 1)                 norm over all weights
        m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2     element by element
        p = p - rate(t) sqrt(1 - b2^(t+1)) / (1 - b1^(t+1)) m / (sqrt(v) + eps)
        p = p - rate(t) weight_decay p

    Of "adamw", the last two lines are

        p = p - rate(t) weight_decay p
        p = p - rate(t) / (1 - b1^(t+1)) m / (sqrt(v / (1 - b2^(t+1))) + eps)

    Weights with a rate of their own use it in both lines, like a parameter group of PyTorch.

    Args:
        settings: optimizer, b1, b2, eps, weight_decay, clip_norm (0: no clipping), decay_biases
            and decay_vectors.
        rate: the learning rate of a step.
        rates: the rate of every weight in units of `rate`, a tree of numbers like the weights;
            None: 1 everywhere.

    Returns:
        A transformation whose `update` needs the weights; its state holds arrays only.
    """
    late = settings.optimizer == "adamw"
    pieces = [scale_by_adam(settings.b1, settings.b2, settings.eps, late_eps=late)]
    if settings.clip_norm:
        pieces.insert(0, optax.clip_by_global_norm(settings.clip_norm))
    factors = sorted(set(jax.tree.leaves(rates)) or {1.0})
    if factors == [1.0]:
        return optax.chain(*pieces, *descend(settings, rate))
    for factor in factors:
        members = jax.tree.map(functools.partial(operator.eq, factor), rates)
        pieces.append(
            optax.masked(optax.chain(*descend(settings, scale_rate(rate, factor))), members)
        )
    return optax.chain(*pieces)


def descend(settings: TrainSettings, rate: optax.Schedule) -> list[optax.GradientTransformation]:
    """Return the pieces after Adam: weight decay, if there is any, and the learning rate."""
    pieces = []
    if decay := settings.weight_decay:
        if settings.optimizer == "tempme":
            # (p - rate u)(1 - rate decay) = p - rate ((1 - rate decay) u + decay p).
            pieces.append(optax.scale_by_schedule(lambda count: 1 - decay * rate(count)))
        pieces.append(optax.add_decayed_weights(decay))
    if not settings.decay_biases:
        pieces = [optax.masked(piece, mask_biases) for piece in pieces]
    if settings.pooling == "text":
        pieces = [optax.masked(piece, mask_temperature) for piece in pieces]
    if not settings.decay_vectors:
        pieces = [optax.masked(piece, mask_vectors) for piece in pieces]
    return [*pieces, optax.scale_by_learning_rate(rate)]


def mask_biases(weights: dict) -> dict:
    """Return a tree like the weights: False for those named "bias", else True."""
    flat = {path: path[-1] != "bias" for path in flatten(weights)}
    return flax.traverse_util.unflatten_dict(flat)


def mask_vectors(weights: dict) -> dict:
    """Return a tree like the weights: False for arrays of one dimension, else True."""
    return jax.tree.map(lambda array: array.ndim != 1, weights)


def mask_temperature(weights: dict) -> dict:
    """Return a tree like the weights: False for the temperature of late interaction, else True."""
    flat = {path: path != LOG_TAU for path in flatten(weights)}
    return flax.traverse_util.unflatten_dict(flat)


def scale_rate(rate: optax.Schedule, factor: float) -> optax.Schedule:
    """Return a schedule whose rates are `factor` times as large."""
    return lambda count: factor * rate(count)


def scale_by_adam(
    b1: float, b2: float, eps: float, *, late_eps: bool = False
) -> optax.GradientTransformation:
    """Return Adam with epsilon added before the bias correction (Kingma and Ba, end of section 2).

    With `late_eps` it is added after it, as `optax.scale_by_adam` does: then the same epsilon
    weighs less in the first steps.
    """

    def init(params):
        return optax.ScaleByAdamState(
            count=jnp.zeros((), jnp.int32),
            mu=optax.tree.zeros_like(params),
            nu=optax.tree.zeros_like(params),
        )

    def update(updates, state, params=None):
        del params
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment(updates, state.nu, b2, 2)
        count = jnp.asarray(optax.safe_increment(state.count))
        root = jnp.sqrt(compute_correction(b2, count))
        correction, least = root / compute_correction(b1, count), root * eps if late_eps else eps
        updates = jax.tree.map(lambda m, v: correction * m / (jnp.sqrt(v) + least), mu, nu)
        return updates, optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(init, update)


def compute_correction(decay: float, count: Int[Array, ""]) -> Float[Array, ""]:
    """Return 1 - decay^count: how much of a running mean that began at 0 is data.

    In single precision the plain difference has a relative error of 1e-5 in the first steps.
    """
    if decay == 0:
        return jnp.ones((), jnp.float32)
    return -jnp.expm1(count.astype(jnp.float32) * math.log(decay))
