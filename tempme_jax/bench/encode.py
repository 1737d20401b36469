"""Speeds measured side by side, in one run, so that ratios mean something."""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from tempme_jax import costs
from tempme_jax.building import create
from tempme_jax.methods import split_method
from tempme_jax.model import Model, encode_pixels

# The product against which the speed of the towers is held: the MLP of ViT-B on 24 frames.
PRODUCT = (1200, 768, 3072)


@dataclasses.dataclass(frozen=True)
class EncodeSpeed:
    """How fast a method encodes videos.

    Attributes:
        method: its name, or that of the model.
        first_seconds: of the first call, compilation (or reading the compiled program) included.
        videos_per_second: median over the rounds.
        ratio: to the first method, median over the rounds of the ratio within a round.
        expected_ratio: the same by multiply-accumulates.
        gmacs_per_second: 1e9 multiply-accumulates in a second.
    """

    method: str
    first_seconds: float
    videos_per_second: float
    ratio: float
    expected_ratio: float
    gmacs_per_second: float


@dataclasses.dataclass(frozen=True)
class DataSpeed:
    """How fast training batches are read.

    Attributes:
        batch_size: videos of a step.
        workers: processes that read; 0 = threads.
        steps: how many were measured.
        first_seconds: until the first batch was there.
        read_videos_per_second: of reading alone, after the first batch.
        train_videos_per_second: with the device at work.
        waited: the share of that time in which the device waited for data.
    """

    batch_size: int
    workers: int
    steps: int
    first_seconds: float
    read_videos_per_second: float
    train_videos_per_second: float
    waited: float


def encode(
    methods: list[str],
    *,
    backbone: str = "ViT-B/32",
    num_frames: int = 12,
    batch: int,
    rounds: int = 7,
    dtype: str = "float32",
    report: Callable[[str], None] = lambda message: None,
) -> list[EncodeSpeed]:
    """Measures the video towers of methods, with folded random weights, in turns.

    Args:
        methods: names of `METHODS`; the first is what the others are compared with.
        backbone: a name of `ARCHITECTURES`.
        num_frames: frames of a video.
        batch: videos of a call.
        rounds: in each, every method makes one call.
        dtype: of the activations.
        report: is told what is being done.

    Raises:
        ValueError: if a name is unknown; it says what is known.
    """
    for method in methods:  # before the first of them has taken its time
        split_method(method)
    make = functools.partial(create, backbone, num_frames=num_frames, dtype=dtype)
    models = {method: functools.partial(make, method=method) for method in methods}
    return encode_models(models, batch=batch, rounds=rounds, report=report)


def encode_models(
    models: dict[str, Callable[[], Model]],
    *,
    batch: int,
    rounds: int = 7,
    report: Callable[[str], None] = lambda message: None,
) -> list[EncodeSpeed]:
    """Measures the video towers of models, with what was learned folded in, in turns.

    Args:
        models: what makes each, by its name; the first is what the others are compared with.
        batch, rounds, report: as for `encode`.
    """
    calls, first, macs = {}, {}, {}
    for name, make in models.items():
        report(f"preparing {name}")
        model = make()
        macs[name] = costs.count(model.network, model.num_frames).mac * batch
        calls[name] = encode_call(model, batch)
        first[name] = seconds(calls[name])
    taken = {name: [] for name in models}
    for turn in range(rounds):
        report(f"round {turn + 1} of {rounds}")
        for name in models:
            taken[name].append(seconds(calls[name]))
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


def encode_call(model: Model, batch: int) -> Callable[[], jax.Array]:
    """A call that encodes the same random videos again."""
    network, params = model.folded
    size = model.arch.image_size
    shape = (batch, model.num_frames, size, size, 3)
    pixels = jnp.asarray(np.random.default_rng(0).standard_normal(shape, dtype=np.float32))
    mask = jnp.ones(shape[:2], bool)
    return lambda: encode_pixels(network, params, pixels, mask)


def product_speed(rounds: int = 20) -> float:
    """1e9 multiply-accumulates in a second of one plain float32 matrix product, at best."""
    n, inner, m = PRODUCT
    a, b = jnp.ones((n, inner)), jnp.ones((inner, m))
    multiply = jax.jit(jnp.matmul)
    seconds(lambda: multiply(a, b))
    return n * inner * m / 1e9 / min(seconds(lambda: multiply(a, b)) for _ in range(rounds))


def seconds(call: Callable[[], jax.Array]) -> float:
    """How long a call takes until its result is there."""
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start
