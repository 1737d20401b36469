"""The similarity matrix, and the loss that training minimises."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tempme_jax.vectors import normalize


def compute_similarity(
    text: Float[Array, "n e"],
    video: Float[Array, "m e"],
    logit_scale: Float[Array, ""],
    *,
    unit_videos: bool = True,
) -> Float[Array, "n m"]:
    """Return the cosine of every text and every video times exp(logit_scale), float32 [n, m].

    Without `unit_videos` the vectors of videos keep their length, see `Adapter.unit_videos`.

    >>> compute_similarity(jnp.eye(2), 3 * jnp.eye(2), jnp.zeros(())).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    video = normalize(video) if unit_videos else video
    cosine = jnp.matmul(normalize(text), video.T, precision=jax.lax.Precision.HIGHEST)
    return jnp.exp(logit_scale) * cosine


def compute_contrastive_loss(logits: Float[Array, "b b"]) -> Float[Array, ""]:
    """Return the mean cross entropy of rows and of columns; pairs are on the diagonal."""
    rows = -jnp.diagonal(jax.nn.log_softmax(logits, axis=1)).mean()
    columns = -jnp.diagonal(jax.nn.log_softmax(logits, axis=0)).mean()
    return (rows + columns) / 2
