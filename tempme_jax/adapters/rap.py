"""RAP, a RECONSTRUCTION: low-rank scales and shifts along time, and attention to warped patches.

After "RAP: Efficient Text-Video Retrieval with Sparse-and-Correlated Adapter" (Cao et al.,
Findings of ACL 2024). This is not the published method: it was written from the paper's abstract
and the caption of its figure, without its equations and without code. According to them, a learned
low-rank scale and shift along time calibrates the features (LoRM), and an asynchronous
self-attention (ASA) selects patches and warps them by learned offsets in space and time. Everything
else is our choice, with sizes that give the paper's 1.06 M parameters. See docs/methods/rap.md.

The published selection uses the paired text. A dual encoder does not have it when it encodes a
video, so here the class tokens of the video select the patches.
"""

import dataclasses
import itertools
import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from tempme_jax.adapters.base import Adapter, Site
from tempme_jax.checks import require_whole
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.attention import Seen, attend, join_heads
from tempme_jax.networks.tokens import Stage, Tokens
from tempme_jax.vectors import HIGHEST, normalize

LOW_RANK_STD = 0.02


@dataclasses.dataclass(frozen=True)
class RAP(Adapter):
    """A reconstruction: calibrated residual branches, and attention between selected patches.

    Attributes:
        rank: rank of the scales and shifts over frames, or over words.
        asa: True: in every block of the video tower, selected patches of all frames attend to
            warped ones. This needs the whole grid of patches, so it cannot be combined with a
            reducer. False: LoRM alone, which combines with every reducer.
        width: inner width of that attention.
        heads: its heads; they divide `width`.
        top: number of patches of a frame that are selected, at most all.
        reach: largest offset, in frames along time and in patches along rows and columns.
        words: number of ids of a text, each of which has a row. None: that of the data.
    """

    rank: int = 8
    asa: bool = True
    width: int = 28
    heads: int = 4
    top: int = 16
    reach: float = 1.0
    words: int | None = None

    def __post_init__(self):
        for name in ("rank", "width", "heads", "top"):
            require_whole(name, getattr(self, name), least=1)
        if self.words is not None:
            require_whole("words", self.words, least=1)
        if self.width % self.heads:
            raise ValueError(f"heads={self.heads} must divide width={self.width}")
        if not (isinstance(self.reach, numbers.Real) and self.reach >= 0):
            raise ValueError(f"reach={self.reach!r} must be a number of 0 or more: frames, patches")

    @property
    def class_token_use(self) -> str:
        return "asa=True selects patches by the class tokens" if self.asa else ""

    def resolve(self, *, frames: int, words: int, arch: Architecture) -> "Adapter":
        return dataclasses.replace(self, words=self.words or words)

    def check(self, stages: Sequence[Stage], arch: Architecture) -> None:
        if not self.asa:
            return
        n = 1 + arch.patches
        grid = Stage(clips=stages[0].clips, n_cls=1, attention=n, mlp=n)
        for layer, stage in enumerate(stages):
            if dataclasses.replace(stage, temporal=0, across=0) != grid:
                raise ValueError(
                    f"asa=True warps the grid of {arch.patches} patches of every frame, and the "
                    f"reducer leaves {stage.clips} x {stage.out} tokens in block {layer}; choose a "
                    "method that keeps all tokens, or asa=False, which combines with every reducer"
                )

    def branch(self, name: str, site: Site) -> Callable[[jax.Array, Tokens, Any], jax.Array]:
        of_words = site.tower == "text"
        calibrate = LowRank(self.rank, self.words if of_words else None, name=f"lorm_{name}")
        if of_words or name != "attn" or not self.asa:
            return calibrate
        relate = WarpedAttention(self, site.dtype, name="asa")
        return lambda output, tokens, shared: relate(calibrate(output, tokens, shared), tokens)

    def count_block_macs(self, layer: int, stage: Stage, arch: Architecture) -> int:
        d, m = arch.width, self.width
        calibration = 2 * stage.clips * (stage.attention + stage.mlp) * d
        if not self.asa:
            return calibration
        s = stage.clips * min(self.top, arch.patches)
        projections, samples = 3 * s * d * m, 8 * s * d
        return calibration + projections + samples + 3 * s * m * m + 2 * s * s * m + 3 * s * m


class LowRank(nn.Module):
    """y * (1 + A_s B_s) + A_c B_c, a row of A for each clip or word; y before training."""

    rank: int
    words: int | None = None

    @nn.compact
    def __call__(self, output: jax.Array, tokens: Tokens, shared: Any) -> jax.Array:
        """Return the calibrated output of a branch, [b, t, n, d].

        Raises:
            ValueError: if there are more words than rows.
        """
        t, n, d = output.shape[1:]
        if self.words is not None and n > self.words:
            raise ValueError(
                f"a text of {n} ids needs as many rows, and words={self.words}; set words to {n} "
                "or more"
            )
        rows = t if self.words is None else self.words

        def multiply(name):
            normal, zeros = nn.initializers.normal(LOW_RANK_STD), nn.initializers.zeros
            a = self.param(f"{name}_a", normal, (rows, self.rank))
            b = self.param(f"{name}_b", zeros, (self.rank, d))
            y = (a @ b).astype(output.dtype)
            return y[None, :, None] if self.words is None else y[None, None, :n]

        return output * (1 + multiply("scale")) + multiply("shift")


class WarpedAttention(nn.Module):
    """Attention of selected patches of all frames to patches near them in space and time.

    Before training its offsets are 0 and it adds zero. In the last block it has no effect, since
    only class tokens are read from there.
    """

    options: RAP
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "b t n d"], tokens: Tokens) -> Float[Array, "b t n d"]:
        """Add the output of the attention to `top` patches of every frame.

        Patches are sampled before they are projected. The weights of a sample sum to 1, so the
        result is the same, and only sampled patches need the projection.
        """
        options, dtype = self.options, self.dtype
        b, t, n, d = x.shape
        real, patches = tokens.size[:, :, 0] > 0, x[:, :, 1:]
        chosen = select_patches(x, real, min(options.top, n - 1))
        picked = jnp.take_along_axis(patches, chosen[..., None], axis=2).reshape(b, -1, d)
        down = nn.Dense(options.width, dtype=dtype, name="down")
        z = down(picked)
        offset = nn.Dense(3, dtype=dtype, kernel_init=nn.initializers.zeros, name="offset")(z)
        side = round((n - 1) ** 0.5)
        place = locate_patches(chosen, side) + options.reach * jnp.tanh(offset.astype(jnp.float32))
        warped = down(sample_patches(patches, place, real))

        def project(name, z):
            y = nn.Dense(options.width, dtype=dtype, name=name)(z)
            return y.reshape(b, 1, y.shape[1], options.heads, -1).swapaxes(2, 3)

        counts = jnp.repeat(real, chosen.shape[2], axis=1)[:, None].astype(jnp.float32)
        seen = Seen(project("key", warped), project("value", warped), counts)
        y, _ = attend(project("query", z), seen)
        up = nn.Dense(d, dtype=dtype, kernel_init=nn.initializers.zeros, name="up")
        y = up(join_heads(y)[:, 0]).reshape(*chosen.shape, d)
        videos, frames = np.ogrid[:b, :t]
        at = (videos[..., None], frames[..., None], 1 + chosen)
        return x.at[at].add(y.astype(x.dtype), unique_indices=True)


def select_patches(
    x: Float[Array, "b t n d"], real: Bool[Array, "b t"], k: int
) -> Int[Array, "b t k"]:
    """Select the `k` patches of every frame most like the mean class token of the real frames.

    They are compared by cosine, in float32, without a gradient; ties go to the first. Patch 0 is
    the first after the class token.
    """
    x = jax.lax.stop_gradient(x).astype(jnp.float32)
    video = jnp.where(real[:, :, None], x[:, :, 0], 0).sum(axis=1)  # its length does not matter
    patches = normalize(x[:, :, 1:])
    score = jnp.einsum("btpd,bd->btp", patches, video, precision=HIGHEST)
    return jax.lax.top_k(score, k)[1]


def locate_patches(chosen: Int[Array, "b t k"], side: int) -> Float[Array, "b tk 3"]:
    """Return frame, row and column of patches, float32."""
    b, t, k = chosen.shape
    frame = jnp.broadcast_to(np.arange(t)[None, :, None], (b, t, k))
    place = jnp.stack([frame, chosen // side, chosen % side], axis=3)
    return place.reshape(b, -1, 3).astype(jnp.float32)


def sample_patches(
    patches: Float[Array, "b t p d"], place: Float[Array, "b s 3"], real: Bool[Array, "b t"]
) -> Float[Array, "b s d"]:
    """Interpolate the patches of real frames trilinearly.

    Args:
        patches: [b, t, p, d], patches of square frames, row by row.
        place: float32 [b, s, 3], frame, row and column; clipped to the borders.
        real: bool [b, t], False for padded frames, which get no weight.
    """
    b, t, p, d = patches.shape
    side = round(p**0.5)
    last = jnp.where(real, np.arange(t)[None], 0).max(axis=1)
    edge = jnp.stack([last, *[jnp.full_like(last, side - 1)] * 2], axis=1)[:, None]
    edge = edge.astype(jnp.float32)
    place = jnp.clip(place, 0, edge)
    low = jnp.floor(jax.lax.stop_gradient(place))
    part = place - low
    ends = ((low, 1 - part), (jnp.minimum(low + 1, edge), part))
    flat = patches.reshape(b, t * p, d)
    total, weights = jnp.zeros((b, place.shape[1], d)), jnp.zeros(place.shape[:2])
    for corner in itertools.product(ends, repeat=3):
        frame, row, column = (at[..., i].astype(jnp.int32) for i, (at, _) in enumerate(corner))
        weight = math.prod(share[..., i] for i, (_, share) in enumerate(corner))
        weight = jnp.where(jnp.take_along_axis(real, frame, axis=1), weight, 0)
        index = frame * p + row * side + column
        found = jnp.take_along_axis(flat, index[..., None], axis=1).astype(jnp.float32)
        total, weights = total + weight[..., None] * found, weights + weight
    return (total / jnp.maximum(weights, 1e-6)[..., None]).astype(patches.dtype)
