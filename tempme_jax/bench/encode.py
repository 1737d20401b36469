"""Speed of encoding videos. Methods take turns, so a busy machine slows all of them alike."""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tempme_jax import costs
from tempme_jax.building import create
from tempme_jax.methods import split_method
from tempme_jax.model import Model
from tempme_jax.networks.network import Network

# Sizes of the matrix product that speeds are compared with: the MLP of ViT-B on 24 frames.
PRODUCT = (1200, 768, 3072)


@dataclasses.dataclass(frozen=True)
class EncodeSpeed:
    """Speed of encoding videos with one method.

    Attributes:
        method: name of the method or of the model.
        first_seconds: seconds of the first call, which compiles or reads the compiled program.
        videos_per_second: median over the rounds.
        ratio: speed relative to the first method: median over the rounds of the ratio in a round.
        expected_ratio: the ratio that multiply-accumulates alone would give.
        gmacs_per_second: 1e9 multiply-accumulates per second.
    """

    method: str
    first_seconds: float
    videos_per_second: float
    ratio: float
    expected_ratio: float
    gmacs_per_second: float


def measure_encoding(
    methods: list[str],
    *,
    backbone: str = "ViT-B/32",
    num_frames: int = 12,
    batch: int,
    rounds: int = 7,
    dtype: str = "float32",
    report: Callable[[str], None] = lambda message: None,
) -> list[EncodeSpeed]:
    """Measure the video towers of several methods, with folded random weights, in turns.

    Args:
        methods: names of `METHODS`; the others are compared with the first.
        backbone: a name of `ARCHITECTURES`.
        num_frames: frames of a video.
        batch: videos in a call.
        rounds: number of calls of each method.
        dtype: dtype of the activations.
        report: called with a message before each part of the work.

    Raises:
        ValueError: if a name is unknown.
    """
    for method in methods:  # an unknown name fails before the first method is measured
        split_method(method)
    make = functools.partial(create, backbone, num_frames=num_frames, dtype=dtype)
    models = {method: functools.partial(make, method=method) for method in methods}
    return measure_models(models, batch=batch, rounds=rounds, report=report)


def measure_models(
    models: Mapping[str, Callable[[], Model]],
    *,
    batch: int,
    rounds: int = 7,
    report: Callable[[str], None] = lambda message: None,
) -> list[EncodeSpeed]:
    """Measure the video towers of models, with their trained parameters folded in, in turns.

    Args:
        models: functions that make the models, by name; the others are compared with the first.
        batch, rounds, report: as in `measure_encoding`.
    """
    calls, first, macs = {}, {}, {}
    for name, make in models.items():
        report(f"preparing {name}")
        model = make()
        macs[name] = costs.count_costs(model.network, model.num_frames).mac * batch
        calls[name] = make_call(model, batch)
        first[name] = time_call(calls[name])
    taken = {name: [] for name in models}
    for turn in range(rounds):
        report(f"round {turn + 1} of {rounds}")
        for name in models:
            taken[name].append(time_call(calls[name]))
    base = next(iter(models))
    return [
        EncodeSpeed(
            method=name,
            first_seconds=first[name],
            videos_per_second=batch / statistics.median(taken[name]),
            ratio=statistics.median(b / s for b, s in zip(taken[base], taken[name], strict=True)),
            expected_ratio=macs[base] / macs[name],
            gmacs_per_second=macs[name] / statistics.median(taken[name]),
        )
        for name in models
    ]


def make_call(model: Model, batch: int) -> Callable[[], jax.Array]:
    """Return a function that encodes the same random videos each time."""
    network, params = model.folded
    size = model.arch.image_size
    shape = (batch, model.num_frames, size, size, 3)
    pixels = jnp.asarray(np.random.default_rng(0).standard_normal(shape, dtype=np.float32))
    mask = jnp.ones(shape[:2], bool)
    return lambda: run_video_tower(network, params, pixels, mask)


@functools.partial(jax.jit, static_argnums=0)
def run_video_tower(network: Network, params: dict, pixels: jax.Array, mask: jax.Array):
    """Return the vectors of videos, or the last tokens if the network makes no vectors."""
    found: Any = network.apply(params, pixels, mask, method="encode_video")
    vectors, tokens = found
    return vectors if vectors.shape[-1] else tokens.x


def measure_matrix_product(rounds: int = 20) -> float:
    """Return the best speed of a float32 matrix product, in 1e9 multiply-accumulates per second."""
    n, inner, m = PRODUCT
    a, b = jnp.ones((n, inner)), jnp.ones((inner, m))
    multiply = jax.jit(jnp.matmul)
    time_call(lambda: multiply(a, b))
    return n * inner * m / 1e9 / min(time_call(lambda: multiply(a, b)) for _ in range(rounds))


def time_call(call: Callable[[], jax.Array]) -> float:
    """Return the seconds until the result of a call is ready."""
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start
