"""The published optimiser: AdamW whose epsilon and weight decay are placed as in the TempMe code.

Two things differ from `optax.adamw`: epsilon is added before the bias correction of the second
moment, and the weights decay after the Adam update, not beside it.
"""

import functools
import math
import operator

import flax.traverse_util
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from tempme_jax.checks import require_one_of


def learning_rate(
    peak: float,
    steps: int,
    warmup_share: float,
    *,
    schedule: str = "cosine",
    final_rate: float = 0.0,
) -> optax.Schedule:
    """Linear warm-up from 0 to `peak`; then half a cosine down, or `peak` to the end.

    Args:
        peak: the largest rate.
        steps: optimiser steps of the whole training; the rate of step `steps` is that of the end.
        warmup_share: share of the steps that warm up, rounded down to whole steps.
        schedule: "cosine" or "constant".
        final_rate: where the cosine ends, in units of `peak`.

    Returns:
        A function of the step, counted from 0, that gives a float32 rate.

    Raises:
        ValueError: if no step is left to train in, or the schedule is unknown.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; a training has at least 1 step.")
    if not 0 <= warmup_share < 1:
        raise ValueError(f"warmup_share is {warmup_share}; give a share from 0 up to, not with, 1.")
    ends = {"cosine": final_rate, "constant": 1.0}
    rate = optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=peak,
        warmup_steps=int(warmup_share * steps),
        decay_steps=steps,
        end_value=peak * ends[require_one_of(schedule, ends, "schedule of the learning rate")],
    )
    return lambda count: rate(jnp.asarray(count, jnp.float32))


def optimizer(
    rate: optax.Schedule,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
    weight_decay: float = 0.2,
    clip_norm: float | None = 1.0,
    decay_biases: bool = True,
    rates: dict | None = None,
) -> optax.GradientTransformation:
    """The optimiser of the TempMe code (https://github.com/LunarShen/TempMe).

    Step t, counted from 0, turns weights p with gradients g into

        g = g / max(norm(g) / clip_norm, 1)                 norm over all weights
        m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2     element by element
        p = p - rate(t) sqrt(1 - b2^(t+1)) / (1 - b1^(t+1)) m / (sqrt(v) + eps)
        p = p - rate(t) weight_decay p

    Weights of another rate take it in both lines, as a parameter group of PyTorch does.

    Args:
        rate: the learning rate of a step.
        b1: decay of the first moment.
        b2: decay of the second moment.
        eps: added to the root of the second moment before its bias is corrected.
        weight_decay: decay of every weight, in units of the rate; 0 for none.
        clip_norm: largest global norm of the gradients; None for no clipping.
        decay_biases: whether weights that are named "bias" decay, too.
        rates: the rate of every weight in units of `rate`, a tree of numbers like the weights;
            None for 1 everywhere.

    Returns:
        A transformation whose `update` needs the weights; its state holds arrays only.
    """
    pieces = [scale_by_adam(b1, b2, eps)]
    if clip_norm is not None:
        pieces.insert(0, optax.clip_by_global_norm(clip_norm))
    descent = functools.partial(descend, weight_decay=weight_decay, decay_biases=decay_biases)
    factors = sorted(set(jax.tree.leaves(rates)) or {1.0})
    if factors == [1.0]:
        return optax.chain(*pieces, *descent(rate))
    for factor in factors:
        members = jax.tree.map(functools.partial(operator.eq, factor), rates)
        pieces.append(optax.masked(optax.chain(*descent(scaled(rate, factor))), members))
    return optax.chain(*pieces)


def descend(
    rate: optax.Schedule, *, weight_decay: float, decay_biases: bool
) -> list[optax.GradientTransformation]:
    """From what Adam says to what is added to the weights: the decay, and the rate."""
    pieces = []
    if weight_decay:
        # (p - rate u)(1 - rate decay) = p - rate ((1 - rate decay) u + decay p).
        pieces.append(optax.scale_by_schedule(lambda count: 1 - weight_decay * rate(count)))
        pieces.append(optax.add_decayed_weights(weight_decay))
    if not decay_biases:
        pieces = [optax.masked(piece, no_biases) for piece in pieces]
    return [*pieces, optax.scale_by_learning_rate(rate)]


def no_biases(weights: dict) -> dict:
    """A tree like the weights: False for those that are named "bias"."""
    return flax.traverse_util.path_aware_map(lambda path, _: path[-1] != "bias", weights)


def scaled(rate: optax.Schedule, factor: float) -> optax.Schedule:
    """The rate of every step, times a factor."""
    return lambda count: factor * rate(count)


def scale_by_adam(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """Adam with epsilon added before the bias correction, as in its paper's efficient form.

    `optax.scale_by_adam` adds it after: there the same epsilon weighs less in the first steps.
    """

    def init(params):
        return optax.ScaleByAdamState(
            count=jnp.zeros((), jnp.int32),
            mu=optax.tree.zeros_like(params),
            nu=optax.tree.zeros_like(params),
        )

    def update(gradients, state, params=None):
        del params
        mu = optax.tree.update_moment(gradients, state.mu, b1, 1)
        nu = optax.tree.update_moment(gradients, state.nu, b2, 2)
        count = optax.safe_increment(state.count)
        correction = jnp.sqrt(seen(b2, count)) / seen(b1, count)
        updates = jax.tree.map(lambda m, v: correction * m / (jnp.sqrt(v) + eps), mu, nu)
        return updates, optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(init, update)


def seen(decay: float, count: Int[Array, ""]) -> Float[Array, ""]:
    """1 - decay^count: the weight of what a running mean that began at 0 has seen.

    In single precision the plain difference is wrong by 1e-5 of itself in the first steps.
    """
    if decay == 0:
        return jnp.ones((), jnp.float32)
    return -jnp.expm1(count.astype(jnp.float32) * math.log(decay))
