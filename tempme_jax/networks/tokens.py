"""The tokens that travel through the towers, and the counts that every block works on.

Axis names, here and in every shape note of the package:
b batch, t clips, n tokens of a clip, d width, h heads, f frames, p patches of a frame,
s tokens of the whole video, e width of the common space.
A clip is a sequence of tokens that attends to itself: one frame at first, later (TempMe) several.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


@dataclasses.dataclass(frozen=True)
class Stage:
    """The counts of clips and tokens that one block works on.

    Attributes:
        clips: number of clips of a video.
        n_cls: number of class tokens of a clip; `attention`, `mlp` and `out` include them.
        attention: number of tokens of a clip in the attention.
        mlp: number of tokens of a clip in the MLP.
        out: number of tokens of a clip that leave the block; None = as many as in the MLP.
        temporal: number of clips that a token sees in an attention across clips, before the
            block's own attention; 0 = there is none.
        across: number of tokens of a clip that take part in it.
    """

    clips: int
    n_cls: int
    attention: int
    mlp: int
    out: int = None  # pyright: ignore[reportAssignmentType]  # __post_init__ sets it
    temporal: int = 0
    across: int = 0

    def __post_init__(self):
        if self.out is None:
            object.__setattr__(self, "out", self.mlp)


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("x", "size", "source", "summary", "mask"),
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
        mask: float32 [b, t, n] or None (all are seen), 0 for tokens that a search removed but keeps
            in place: only they themselves see them. It has a gradient.
    """

    x: Float[Array, "b t n d"]
    size: Float[Array, "b t n"]
    source: Int[Array, "b fp"] | None = None
    summary: Float[Array, "b s d"] | None = None
    n_cls: int = 1
    mask: Float[Array, "b t n"] | None = None

    @property
    def real(self) -> Bool[Array, "b t n"]:
        """Whether a token is there: neither padding nor removed."""
        real = self.size > 0
        return real if self.mask is None else real & (self.mask > 0)

    def replace(self, **changes) -> "Tokens":
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def add(self, x: jax.Array, summary: jax.Array | None) -> "Tokens":
        """Add the outputs of a branch to the residual streams."""
        if summary is not None:
            assert self.summary is not None
            summary = self.summary + summary
        return self.replace(x=self.x + x, summary=summary)

    def regroup(
        self, x: Float[Array, "b t m d"], size: Float[Array, "b t m"], position: Int[Array, "b t n"]
    ) -> "Tokens":
        """Replace the tokens of each clip by fewer ones, and follow the patches in the source map.

        Args:
            x: the new tokens.
            size: their sizes.
            position: int32 [b, t, n], for each old token the index in 0 .. m-1 of the new token
                that took it in; -1 where it was discarded.
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
    """The results of an attention by which reducers choose among its tokens.

    Attributes:
        keys: float32 [b, t, n, d / h], the keys, averaged over heads.
        class_attention: float32 [b, t, n], the attention that the class token gives to each token,
            averaged over heads; where there is no class token, that of all tokens, averaged.
    """

    keys: Float[Array, "b t n k"]
    class_attention: Float[Array, "b t n"]


def make_tokens(
    x: Float[Array, "b f n d"],
    frame_mask: Bool[Array, "b f"] | None,
    *,
    n_cls: int = 1,
    trace: bool,
) -> Tokens:
    """Make a clip of every frame, class tokens first; tokens of masked frames have size 0.

    Args:
        x: float [b, f, n_cls + p, d].
        frame_mask: bool [b, f], True where the frame is real; None = all are.
        n_cls: number of class tokens of a frame.
        trace: whether to carry the source map.
    """
    b, f, n, _ = x.shape
    size = jnp.ones((b, f, n), jnp.float32)
    if frame_mask is not None:
        size = jnp.where(frame_mask[:, :, None], size, 0)
    source = None
    if trace:
        patches = np.arange(f * n, dtype=np.int32).reshape(f, n)[:, n_cls:].ravel()
        source = jnp.broadcast_to(patches, (b, patches.size))
    return Tokens(x, size, source, n_cls=n_cls)


def join_clips(tokens: Tokens, group: int) -> Tokens:
    """Join every `group` neighbouring clips into one: all class tokens first, then the rest.

    [b, t, n, d] -> [b, t / group, group * n, d], `group` times as many class tokens
    (TempMe; docs/methods/tempme.md).

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
        flat = (b, t // group, group * n, *a.shape[3:])
        if not c:
            return a.reshape(flat)
        a = a.reshape(b, t // group, group, n, *a.shape[3:])
        flat = (*flat[:2], -1, *flat[3:])
        return jnp.concatenate([a[:, :, :, :c].reshape(flat), a[:, :, :, c:].reshape(flat)], axis=2)

    source = tokens.source
    if source is not None:
        old_at_new = find_joined_indices(t, n, c, group)
        new_at_old = np.argsort(old_at_new).astype(np.int32)
        source = follow(source, jnp.broadcast_to(new_at_old, (b, t * n)))
    return tokens.replace(x=fold(tokens.x), size=fold(tokens.size), source=source, n_cls=c * group)


def find_joined_indices(t: int, n: int, n_cls: int, group: int) -> np.ndarray:
    """Return the flat index that each token had before `join_clips`, int [t * n]."""
    index = np.arange(t * n).reshape(t // group, group, n)
    classes = index[:, :, :n_cls].reshape(t // group, -1)
    return np.concatenate([classes, index[:, :, n_cls:].reshape(t // group, -1)], axis=1).ravel()


def follow(source: Int[Array, "b fp"], moved: Int[Array, "b tn"]) -> Int[Array, "b fp"]:
    """Return the places of patches after the token at index i went to `moved[i]`; -1 stays -1."""
    there = jnp.take_along_axis(moved, jnp.maximum(source, 0), axis=1)
    return jnp.where(source < 0, -1, there)
