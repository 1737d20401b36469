"""What training minimises."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tempme_jax.vectors import unit_length


def similarity(
    text: Float[Array, "n e"], video: Float[Array, "m e"], logit_scale: Float[Array, ""]
) -> Float[Array, "n m"]:
    """The cosine of every text and every video, times exp(logit_scale), in float32."""
    cosine = jnp.matmul(
        unit_length(text), unit_length(video).T, precision=jax.lax.Precision.HIGHEST
    )
    return jnp.exp(logit_scale) * cosine


def contrastive_loss(logits: Float[Array, "b b"]) -> Float[Array, ""]:
    """Mean of the cross entropies of rows and of columns; pairs are on the diagonal."""
    rows = -jnp.diagonal(jax.nn.log_softmax(logits, axis=1)).mean()
    columns = -jnp.diagonal(jax.nn.log_softmax(logits, axis=0)).mean()
    return (rows + columns) / 2
