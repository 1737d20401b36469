"""Run the towers of a network on batches: jitted functions, and the sizes of batches."""

import functools
from collections.abc import Callable, Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from tempme_jax.inputs import normalize_frames
from tempme_jax.networks.network import Network
from tempme_jax.vectors import normalize

# Rows that go through the network at once; the last ones are filled up to a power of two, so few
# sizes are compiled. On a CPU, more videos only overflow its caches.
VIDEO_BATCH = {"cpu": 2}
VIDEO_BATCH_ELSEWHERE = 16
TEXT_BATCH = 64


def choose_video_batch() -> int:
    """Return how many videos go through the network at once on this device."""
    return VIDEO_BATCH.get(jax.default_backend(), VIDEO_BATCH_ELSEWHERE)


def split_rows(size: int, *arrays: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield the rows of the arrays, at most `size` at once."""
    for start in range(0, len(arrays[0]), size):
        yield tuple(a[start : start + size] for a in arrays)


def encode_batches(
    encode: Callable[..., jax.Array], batches: Iterable[tuple[np.ndarray, ...]], *width: int
) -> np.ndarray:
    """Return what `encode` makes of batches of rows, float32 [rows, *width].

    Each batch is filled up to a power of two with zeros.
    """
    encoded = [np.zeros((0, *width), np.float32)]
    for batch in batches:
        count = len(batch[0])
        extra = (1 << (count - 1).bit_length()) - count
        filled = [np.pad(a, [(0, extra)] + [(0, 0)] * (a.ndim - 1)) for a in batch]
        encoded.append(np.asarray(encode(*filled))[:count])
    return np.concatenate(encoded)


@functools.partial(jax.jit, static_argnums=0)
def encode_pixels(network: Network, params: dict, pixels: jax.Array, mask: jax.Array) -> jax.Array:
    """Return vectors [b, e] of normalised pixels, of unit length if the adapter compares those."""
    vectors = network.apply(params, pixels, mask, method="encode_video")[0]
    return normalize(vectors) if network.unit_videos else vectors


@functools.partial(jax.jit, static_argnums=0)
def encode_frames(network: Network, params: dict, frames: jax.Array, mask: jax.Array) -> jax.Array:
    """Return the vectors [b, e] of uint8 frames, which are normalised on the device."""
    pixels = normalize_frames(frames, network.arch.mean, network.arch.std)
    return encode_pixels(network, params, pixels, mask)


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
