"""Run the towers of a network on batches: jitted functions, and the sizes of batches."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from tempme_jax.inputs import normalize_frames
from tempme_jax.late_interaction import FrameVectors, scale_to_unit
from tempme_jax.networks.network import Network
from tempme_jax.vectors import normalize

# Rows that go through the network at once, see `inputs.encode_batches`. On a CPU, more videos only
# overflow its caches.
VIDEO_BATCH = {"cpu": 2}
VIDEO_BATCH_ELSEWHERE = 16
TEXT_BATCH = 64


def choose_video_batch(platform: str | None = None) -> int:
    """Return how many videos go through the network at once on a kind of device.

    Without one, it is the kind that JAX uses by default.
    """
    return VIDEO_BATCH.get(platform or jax.default_backend(), VIDEO_BATCH_ELSEWHERE)


@functools.partial(jax.jit, static_argnums=0)
def encode_pixels(network: Network, params: dict, pixels: jax.Array, mask: jax.Array) -> jax.Array:
    """Return vectors [b, e] of normalised pixels, of unit length if the network compares those.

    Raises:
        ValueError: if the network makes no vectors.
    """
    vectors = network.apply(params, pixels, mask, method="encode_video")[0]
    if not vectors.shape[-1]:
        raise ValueError(f"the backbone {network.arch.backbone!r} makes no vectors of videos")
    return normalize(vectors) if network.unit_videos else vectors


@functools.partial(jax.jit, static_argnums=0)
def encode_frames(network: Network, params: dict, frames: jax.Array, mask: jax.Array) -> jax.Array:
    """Return the vectors [b, e] of uint8 frames, which are normalised on the device."""
    pixels = normalize_frames(frames, network.arch.mean, network.arch.std)
    return encode_pixels(network, params, pixels, mask)


@functools.partial(jax.jit, static_argnums=0)
def encode_each_frame(
    network: Network, params: dict, frames: jax.Array, mask: jax.Array
) -> FrameVectors:
    """Return the vectors of uint8 frames as `encode_frames` does, and those of each frame.

    Raises:
        ValueError: if the network keeps no vectors of frames.
    """
    if problem := network.find_frame_problem(frames.shape[1]):
        raise ValueError(f"there are no vectors of frames: {problem}")
    pixels = normalize_frames(frames, network.arch.mean, network.arch.std)
    found: Any = network.apply(params, pixels, mask, method="encode_video_frames")
    return scale_to_unit(found) if network.unit_videos else found


@functools.partial(jax.jit, static_argnums=0)
def encode_tokens(network: Network, params: dict, ids: jax.Array, mask: jax.Array) -> jax.Array:
    """Return unit vectors [b, e] of token ids."""
    vectors = network.apply(params, ids, mask, method="encode_text")
    assert isinstance(vectors, jax.Array)
    return normalize(vectors)


@functools.partial(jax.jit, static_argnums=0)
def judge_frames(
    network: Network,
    params: dict,
    ids: jax.Array,
    text_mask: jax.Array,
    frames: jax.Array,
    mask: jax.Array,
) -> jax.Array:
    """Return the probability [b] that one text, ids [1, n], fits each of some videos."""
    pixels = normalize_frames(frames, network.arch.mean, network.arch.std)
    _, tokens = network.apply(params, pixels, mask, method="encode_video")
    _, words = network.apply(params, ids, text_mask, method="read_text")
    words = jax.tree.map(lambda a: jnp.repeat(a, len(frames), axis=0), words)
    memory = network.apply(params, tokens, method="remember")
    logits = network.apply(params, words, memory, method="judge")
    assert isinstance(logits, jax.Array)
    return jax.nn.softmax(logits)[:, 1]
