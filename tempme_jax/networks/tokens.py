"""The state that travels through the towers, and how much of it every block works on.

Axis names, here and in every shape note of the package:
b batch, t clips, n tokens of a clip, d width, h heads, f frames, p patches of a frame,
s tokens of the whole video, e width of the common space.
A clip is what attends to itself: at first one frame, later (TempMe) several.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


@dataclasses.dataclass(frozen=True)
class Stage:
    """What one block works on.

    Attributes:
        clips: sets of tokens that attend to themselves, per video.
        n_cls: class tokens of a clip, counted in the three below.
        attention: tokens of a clip in the attention.
        mlp: tokens of a clip in the MLP.
        out: tokens of a clip at the end of the block; None = as many as in the MLP.
        temporal: clips that a token sees in an attention across clips, before the block's own;
            0 = there is none.
    """

    clips: int
    n_cls: int
    attention: int
    mlp: int
    out: int | None = None
    temporal: int = 0

    def __post_init__(self):
        if self.out is None:
            object.__setattr__(self, "out", self.mlp)


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("x", "size", "source", "summary"),
    meta_fields=("n_cls",),
)
@dataclasses.dataclass(frozen=True)
class Tokens:
    """The tokens of a batch of videos (or of texts: one clip, no class token).

    Attributes:
        x: float [b, t, n, d], the residual stream; the first `n_cls` tokens of a clip are class
            tokens, in the order of their frames.
        size: float32 [b, t, n], how many patches, over all frames, a token stands for;
            0 = padding, which nothing attends to.
        source: int32 [b, f * p] or None (not asked for): for every patch of every frame, the
            flat index `clip * n + token` of the token that holds it; -1 = discarded.
        summary: float [b, s, d] or None, learned tokens of the whole video: all clips attend to
            them, and they to all clips.
        n_cls: the number of class tokens of a clip.
    """

    x: Float[Array, "b t n d"]
    size: Float[Array, "b t n"]
    source: Int[Array, "b fp"] | None = None
    summary: Float[Array, "b s d"] | None = None
    n_cls: int = 1

    def replace(self, **changes) -> "Tokens":
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def add(self, x: jax.Array, summary: jax.Array | None) -> "Tokens":
        """What a branch adds to the residual streams of both."""
        summary = None if summary is None else self.summary + summary
        return self.replace(x=self.x + x, summary=summary)

    def regroup(
        self, x: Float[Array, "b t m d"], size: Float[Array, "b t m"], position: Int[Array, "b t n"]
    ) -> "Tokens":
        """The same clips with new tokens, of which `position` says where each old one went.

        position: int32 [b, t, n], the index in 0 .. m-1 of the new token that took in the old
            one, or -1 where the old one was discarded.
        """
        source = self.source
        if source is not None:
            b, t, _ = position.shape
            clip = np.arange(t)[None, :, None] * x.shape[2]
            moved = jnp.where(position < 0, -1, position + clip).reshape(b, -1)
            source = follow(source, moved)
        return self.replace(x=x, size=size, source=source)


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=("keys", "class_attention"), meta_fields=()
)
@dataclasses.dataclass(frozen=True)
class Evidence:
    """What an attention layer shows of its tokens, for those who choose among them.

    Attributes:
        keys: float32 [b, t, n, d / h], the mean over heads of the keys.
        class_attention: float32 [b, t, n], the mean over heads of what the first token attends to.
    """

    keys: Float[Array, "b t n k"]
    class_attention: Float[Array, "b t n"]


def from_frames(
    x: Float[Array, "b f n d"], frame_mask: Bool[Array, "b f"] | None, *, trace: bool
) -> Tokens:
    """Tokens of single frames, one class token first; those of masked frames have size 0.

    Args:
        x: float [b, f, 1 + p, d].
        frame_mask: bool [b, f], True where the frame is real; None = all are.
        trace: whether to carry the source map.
    """
    b, f, n, _ = x.shape
    size = jnp.ones((b, f, n), jnp.float32)
    if frame_mask is not None:
        size = jnp.where(frame_mask[:, :, None], size, 0)
    source = None
    if trace:
        patches = np.arange(f * n, dtype=np.int32).reshape(f, n)[:, 1:].ravel()
        source = jnp.broadcast_to(patches, (b, patches.size))
    return Tokens(x, size, source)


def join_clips(tokens: Tokens, group: int) -> Tokens:
    """Makes one clip of every `group` neighbouring ones: all class tokens first, then the rest.

    [b, t, n, d] -> [b, t / group, group * n, d], `group` times as many class tokens
    (TempMe; specification section 7, step i).

    Raises:
        ValueError: if t is not divisible by `group`.
    """
    if group == 1:
        return tokens
    b, t, n, _ = tokens.x.shape
    c = tokens.n_cls
    if t % group:
        raise ValueError(f"{t} clips cannot be joined in groups of {group}")

    def fold(a):  # [b, t, n, ...] -> [b, t / group, group * n, ...]
        a = a.reshape(b, t // group, group, n, *a.shape[3:])
        flat = (b, t // group, -1, *a.shape[4:])
        return jnp.concatenate([a[:, :, :, :c].reshape(flat), a[:, :, :, c:].reshape(flat)], axis=2)

    source = tokens.source
    if source is not None:
        old_at_new = fold_indices(t, n, c, group)
        new_at_old = np.argsort(old_at_new).astype(np.int32)
        source = follow(source, jnp.broadcast_to(new_at_old, (b, t * n)))
    return tokens.replace(x=fold(tokens.x), size=fold(tokens.size), source=source, n_cls=c * group)


def fold_indices(t: int, n: int, n_cls: int, group: int) -> np.ndarray:
    """[t * n] int: the flat index that each token had before `join_clips`."""
    index = np.arange(t * n).reshape(t // group, group, n)
    classes = index[:, :, :n_cls].reshape(t // group, -1)
    return np.concatenate([classes, index[:, :, n_cls:].reshape(t // group, -1)], axis=1).ravel()


def follow(source: Int[Array, "b fp"], moved: Int[Array, "b tn"]) -> Int[Array, "b fp"]:
    """Where the patches are after the token at flat index i went to `moved[i]` (-1 stays -1)."""
    there = jnp.take_along_axis(moved, jnp.maximum(source, 0), axis=1)
    return jnp.where(source < 0, -1, there)
