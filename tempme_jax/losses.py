"""The similarity matrix, and the loss that training minimises."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from tempme_jax.vectors import normalize


def compute_similarity(
    text: Float[Array, "n e"],
    video: Float[Array, "m e"],
    scale: Float[Array, ""],
    *,
    unit_videos: bool = True,
) -> Float[Array, "n m"]:
    """Return the cosine of every text and every video times `scale`, float32 [n, m].

    Without `unit_videos` the vectors of videos keep their length, see `Network.unit_videos`.

    >>> compute_similarity(jnp.eye(2), 3 * jnp.eye(2), jnp.ones(())).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    video = normalize(video) if unit_videos else video
    cosine = jnp.matmul(normalize(text), video.T, precision=jax.lax.Precision.HIGHEST)
    return scale * cosine


def compute_contrastive_loss(logits: Float[Array, "b b"]) -> Float[Array, ""]:
    """Return the mean cross entropy of rows and of columns; pairs are on the diagonal."""
    rows = -jnp.diagonal(jax.nn.log_softmax(logits, axis=1)).mean()
    columns = -jnp.diagonal(jax.nn.log_softmax(logits, axis=0)).mean()
    return (rows + columns) / 2


def compute_sigmoid_loss(logits: Float[Array, "b b"], same: Bool[Array, "b b"]) -> Float[Array, ""]:
    """Return SigLIP's loss: every pair is judged by itself, and the sum is divided by b.

    "Sigmoid Loss for Language Image Pre-Training" (Zhai et al., ICCV 2023), section 3.

    Args:
        logits: scaled cosines of texts and videos plus the bias.
        same: whether a text describes a video, which may be in the batch more than once.

    >>> loss = compute_sigmoid_loss(jnp.array([[2.0, -1.0], [0.5, 1.0]]), jnp.eye(2) > 0)
    >>> round(float(loss), 4)  # (log(1 + e^-2) + log(1 + e^-1) + log(1 + e^.5) + log(1 + e^-1)) / 2
    0.8638
    """
    return -jax.nn.log_sigmoid(jnp.where(same, logits, -logits)).sum() / len(logits)


def compute_soft_contrastive_loss(
    logits: Float[Array, "b b"], same: Bool[Array, "b b"]
) -> Float[Array, ""]:
    """Return the mean cross entropy of rows and of columns, whose targets share out evenly.

    With a diagonal `same`, it is `compute_contrastive_loss`.

    Args:
        logits: similarities of texts and videos.
        same: whether a text describes a video, which may be in the batch more than once.
    """

    def compute_rows(logits, same):
        right = same.astype(jnp.float32)
        target = right / right.sum(axis=1, keepdims=True)
        return -(target * jax.nn.log_softmax(logits, axis=1)).sum(axis=1).mean()

    return (compute_rows(logits, same) + compute_rows(logits.T, same.T)) / 2


def draw_hard_negatives(
    key: Key[Array, ""],
    logits: Float[Array, "b b"],
    same: Bool[Array, "b b"],
    *,
    group: int = 0,
    draw: Callable = jax.random.categorical,
) -> tuple[Int[Array, " b"], Bool[Array, " b"]]:
    """Draw a wrong partner for every row, more often a similar one, from its group of rows.

    The weights are the softmax of the row within the group, plus 1e-4.

    Args:
        key: a random key.
        logits: similarities, a row for each that needs a partner; they get no gradient.
        same: whether a row and a column belong together, so that they are no negatives.
        group: rows that draw from each other; 0, or more than there are = all.
        draw: maps a key and the logarithms of weights [b, group] to columns [b].

    Returns:
        The partners, int32 [b], and whether there is any: no row may be without another video.
    """
    b = len(logits)
    group = min(group or b, b)
    first = jnp.minimum(jnp.arange(b) // group * group, b - group)

    def take_group(rows):
        return jax.vmap(lambda row, at: jax.lax.dynamic_slice(row, (at,), (group,)))(rows, first)

    weight = jax.nn.softmax(take_group(jax.lax.stop_gradient(logits)), axis=1) + 1e-4
    wrong = ~take_group(same)
    drawn = draw(key, jnp.where(wrong, jnp.log(weight), -jnp.inf))
    return (first + drawn).astype(jnp.int32), wrong.any(axis=1)


def compute_matching_loss(
    logits: Float[Array, "n 2"], label: Int[Array, " n"], counts: Bool[Array, " n"]
) -> Float[Array, ""]:
    """Return the mean cross entropy of the pairs that count: label 1 = the text fits the video."""
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), label[:, None], axis=1)[:, 0]
    return -jnp.where(counts, chosen, 0).sum() / counts.astype(jnp.float32).sum()


def score_words(logits: Float[Array, "b n v"], ids: Int[Array, "b n"]) -> Float[Array, "b n"]:
    """Return the log probability of each id by its logits, float32."""
    chosen = jnp.take_along_axis(logits, ids[..., None], axis=-1)[..., 0]
    return chosen - jax.nn.logsumexp(logits, axis=-1)


def compute_answer_losses(
    logits: Float[Array, "b n v"], ids: Int[Array, "b n"], mask: Bool[Array, "b n"]
) -> Float[Array, " b"]:
    """Return the cross entropy of each answer: the sum over its ids behind the first one.

    >>> logits, ids = jnp.zeros((1, 3, 4)), jnp.array([[0, 2, 1]])
    >>> loss = compute_answer_losses(logits, ids, jnp.array([[True, True, False]]))
    >>> round(float(loss[0]), 4)
    1.3863
    """
    return -jnp.where(mask[:, 1:], score_words(logits[:, :-1], ids[:, 1:]), 0).sum(axis=1)
