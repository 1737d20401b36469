"""MV-Adapter: a bottleneck after every MLP that sees all frames, or all preceding words.

"MV-Adapter: Multimodal Video Transfer Learning for Video Text Retrieval" (Jin et al., CVPR 2024).
In the video tower a small transformer over the frames calibrates their class tokens; in the text
tower one runs over the words. In the last blocks the down-projections of both towers are
multiplied by functions of one shared factor. CLIP's own biases train too, with a smaller learning
rate, as in the published code. See docs/methods/mv_adapter.md.

If a reducer joins clips (TempMe), the frames of one clip share the mean of its patches, in which a
merged token counts once. Without a reducer the adapter is as published.
"""

import dataclasses
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Bool, Float

from tempme_jax.adapters.base import Adapter, Path, Site
from tempme_jax.adapters.initializers import draw_uniform_by_width, make_dense, make_uniform
from tempme_jax.checks import require_one_of, require_whole
from tempme_jax.networks.architecture import ACTIVATIONS, Architecture
from tempme_jax.networks.block import Block
from tempme_jax.networks.layers import make_layer_norm
from tempme_jax.networks.tokens import Stage, Tokens

TIES = ("in", "out")
POSITION_STD = 0.01
# Parts of CLIP that have biases, inside and outside the blocks.
PARTS = {"ln_1", "attn", "ln_2", "mlp", "ln_pre", "ln_post", "ln_final"}
quick_gelu = ACTIVATIONS["quick_gelu"]


@dataclasses.dataclass(frozen=True)
class MVAdapter(Adapter):
    """Bottleneck scale * up(f(down(y))), added to the output y of every MLP.

    f is a transformer across frames in the video tower, across words in the text tower.

    Attributes:
        width: width between `down` and `up`.
        heads: attention heads of the transformers; they divide `width`.
        calibration: inner width of the network that calibrates the frames.
        tied: number of the last blocks whose down-projections share a factor in both towers.
        tie: channels of the down-projections that the factor multiplies, "in" or "out".
        factor: length of a shared factor.
        scale: factor of the result.
        clip_biases: True to train CLIP's own biases too.
        bias_rate: their learning rate, as a factor of the run's; 1e-7 / 5e-6 as published.
        words: number of ids of a text, each of which has a position. None: that of the data.
    """

    width: int = 64
    heads: int = 2
    calibration: int = 16
    tied: int = 2
    tie: str = "in"
    factor: int = 32
    scale: float = 0.1
    clip_biases: bool = True
    bias_rate: float = 0.02
    words: int | None = None

    def __post_init__(self):
        for name in ("width", "heads", "calibration", "factor"):
            require_whole(name, getattr(self, name), least=1)
        require_whole("tied", self.tied, least=0)
        require_one_of(self.tie, TIES, "tie")
        if self.words is not None:
            require_whole("words", self.words, least=1)
        if self.width % self.heads:
            raise ValueError(f"heads={self.heads} must divide width={self.width}")
        if not (isinstance(self.bias_rate, numbers.Real) and self.bias_rate > 0):
            raise ValueError(
                f"bias_rate={self.bias_rate!r} must be a number above 0; clip_biases=False "
                "freezes the biases"
            )

    @property
    def class_token_use(self) -> str:
        return "it calibrates the class tokens of the frames"

    def resolve(self, *, frames: int, words: int, arch: Architecture) -> "Adapter":
        return dataclasses.replace(self, words=self.words or words)

    def check(self, stages: Sequence[Stage], arch: Architecture) -> None:
        if self.tied > (most := arch.depth):
            raise ValueError(f"tied={self.tied} is more than the {most} blocks: choose 0..{most}")

    def shared(self, arch: Architecture, dtype: Any) -> Callable[[], Any]:
        """Return a callable that makes the factor, or None, of every block of each tower."""
        if not self.tied:
            return super().shared(arch, dtype)
        return Factors(self.tied, self.factor, arch.depth, arch.text_depth)

    def branch(self, name: str, site: Site) -> Callable[[jax.Array, Tokens, Any], jax.Array]:
        if name != "mlp":
            return super().branch(name, site)
        adapter = {"video": FrameAdapter, "text": WordAdapter}[site.tower]
        return adapter(self, site, name="mv_adapter")

    def is_trained(self, path: Path) -> bool:
        return self.clip_biases and is_clip_bias(path)

    def choose_rate(self, path: Path) -> float:
        return self.bias_rate if is_clip_bias(path) else 1.0

    def count_block_macs(self, layer: int, stage: Stage, arch: Architecture) -> int:
        frames, m = stage.clips * stage.n_cls, self.width
        n = 2 * frames + 1
        projections = 2 * stage.clips * stage.mlp * arch.width * m
        transformer = 12 * n * m * m + 2 * n * n * m
        return projections + transformer + frames * 3 * m * self.calibration + m * m


class Factors(nn.Module):
    """The factors of the last blocks, zero before training; a block of each tower shares one."""

    count: int
    length: int
    video_depth: int
    text_depth: int

    @nn.compact
    def __call__(self) -> dict[str, tuple[Float[Array, " c"] | None, ...]]:
        """Return the factor of every block of each tower; None in untied blocks."""
        factors = self.param("factors", nn.initializers.zeros, (self.count, self.length))
        depths = {"video": self.video_depth, "text": self.text_depth}
        return {tower: align_to_end(factors, depth) for tower, depth in depths.items()}


class FrameAdapter(nn.Module):
    """The adapter of the video tower; it adds zero before training."""

    options: MVAdapter
    site: Site

    @nn.compact
    def __call__(self, output: jax.Array, tokens: Tokens, shared: Any) -> jax.Array:
        """Return the output of the MLP [b, t, n, d] plus that of the adapter."""
        options, dtype, c = self.options, self.site.dtype, tokens.n_cls
        b, t, _, d = output.shape
        down = DownProjection(options, draw_uniform_by_width, dtype, name="down")
        h = quick_gelu(down(output, get_factor(self.site, shared)))
        real = tokens.real
        cls, patches = h[:, :, :c], h[:, :, c:]
        frames, real_frames = cls.reshape(b, t * c, -1), real[:, :, :c].reshape(b, t * c)
        means = jnp.repeat(average_real(patches, real[:, :, c:]), c, axis=1)
        video = self.param("video", nn.initializers.normal(h.shape[-1] ** -0.5), h.shape[-1:])
        video = jnp.broadcast_to(video.astype(h.dtype), (b, 1, h.shape[-1]))
        size = jnp.concatenate([jnp.ones((b, 1), bool), real_frames, real_frames], axis=1)
        related = Transformer(options.heads, d, 2 * t * c + 1, dtype=dtype, name="transformer")(
            jnp.concatenate([video, frames, means], axis=1), size.astype(jnp.float32)
        )
        video, frames, means = jnp.split(related, [1, 1 + t * c], axis=1)
        alpha = Calibration(options.calibration, dtype, name="calibration")
        frames = alpha(frames + means, video, real_frames) * frames
        h = jnp.concatenate([frames.reshape(cls.shape), patches], axis=2)
        return output + options.scale * project_up(h, d, dtype)


class WordAdapter(nn.Module):
    """The adapter of the text tower; it adds zero before training."""

    options: MVAdapter
    site: Site

    @nn.compact
    def __call__(self, output: jax.Array, tokens: Tokens, shared: Any) -> jax.Array:
        """Return the output of the MLP [b, 1, n, d] plus that of the adapter.

        Raises:
            ValueError: if there are more words than positions.
        """
        options, dtype = self.options, self.site.dtype
        n, d = output.shape[2:]
        if options.words is None or n > options.words:
            raise ValueError(
                f"a text of {n} ids needs as many positions, and words={options.words}; set "
                f"words to {n} or more"
            )
        down = DownProjection(options, nn.initializers.normal((2 * d) ** -0.5), dtype, name="down")
        h = down(output, get_factor(self.site, shared))[:, 0]
        related = Transformer(
            options.heads, d, options.words, causal=True, dtype=dtype, name="transformer"
        )(h, tokens.size[:, 0])
        return output + options.scale * project_up(related[:, None], d, dtype)


class DownProjection(nn.Module):
    """A linear layer; a factor may multiply the input or output channels of its kernel."""

    options: MVAdapter
    kernel_init: nn.initializers.Initializer
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "b t n d"], factor: jax.Array | None) -> jax.Array:
        """Map [b, t, n, d] to [b, t, n, m]; `factor` [c], or None for the plain kernel."""
        d, m = x.shape[-1], self.options.width
        kernel = self.param("kernel", self.kernel_init, (d, m))
        bias = self.param("bias", nn.initializers.zeros, (m,))
        if factor is not None:
            axis = TIES.index(self.options.tie)
            beta = make_dense(kernel.shape[axis], factor.size, None, "modulation")
            kernel = kernel * jnp.expand_dims(beta(factor), 1 - axis)
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        return x @ kernel + bias[None, None, None]


class Transformer(nn.Module):
    """Positions, a layer norm, one block like CLIP's, QuickGELU."""

    heads: int
    tower_width: int
    positions: int
    causal: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "b n m"], size: Float[Array, "b n"]) -> jax.Array:
        """Map [b, n, m] to [b, n, m]; tokens of size 0 are not attended to."""
        n, m = x.shape[1:]
        normal = nn.initializers.normal(POSITION_STD)
        position = self.param("position_embedding", normal, (self.positions, m))
        x = make_layer_norm("ln_pre", self.dtype)(x + position[None, :n].astype(x.dtype))
        block = Block(
            "", 0, self.heads, "quick_gelu", TowerInitialization(self.tower_width),
            causal=self.causal, dtype=self.dtype, name="block",
        )  # fmt: skip
        stage = Stage(clips=1, n_cls=0, attention=n, mlp=n)
        return quick_gelu(block(Tokens(x[:, None], size[:, None], n_cls=0), stage).x[:, 0])


@dataclasses.dataclass(frozen=True)
class TowerInitialization(Adapter):
    """Linear layers of a new block, initialized as if the block were `tower_width` wide.

    Biases start as PyTorch's: at zero in the attention, in U(+-1 / sqrt(inputs)) in the MLP.
    """

    tower_width: int

    def linear(
        self, features: int, name: str, dtype: Any, role: str = "", *, key_bias: bool = True
    ) -> nn.Module:
        std = (self.tower_width if name == "qkv" else 2 * self.tower_width) ** -0.5
        inputs = {"fc": features / 4, "proj": 4 * features}.get(name)
        bias = make_uniform(inputs**-0.5) if inputs else nn.initializers.zeros
        normal = nn.initializers.normal(std)
        return nn.Dense(features, dtype=dtype, kernel_init=normal, bias_init=bias, name=name)


class Calibration(nn.Module):
    """The factor of each channel of a frame, 1 before training."""

    inner: int
    dtype: Any = None

    @nn.compact
    def __call__(self, frames: jax.Array, video: jax.Array, real: jax.Array) -> jax.Array:
        """Map [b, f, m], [b, 1, m] and bool [b, f] to [b, f, m]; padded frames enter as zeros."""
        m = frames.shape[-1]
        video = jnp.broadcast_to(make_dense(m, m, self.dtype, "video")(video), frames.shape)
        u = jnp.where(real[:, :, None], jnp.concatenate([frames, video], axis=2), 0)
        h = nn.relu(make_dense(self.inner, 2 * m, self.dtype, "down")(u))
        return 1 + nn.Dense(m, False, self.dtype, kernel_init=nn.initializers.zeros, name="up")(h)


def project_up(h: Float[Array, "b t n m"], width: int, dtype: Any) -> Float[Array, "b t n d"]:
    """Apply a new up-projection of the calling module, zero before training."""
    return nn.Dense(width, dtype=dtype, kernel_init=nn.initializers.zeros, name="up")(h)


def average_real(x: Float[Array, "b t p m"], real: Bool[Array, "b t p"]) -> Float[Array, "b t m"]:
    """Average the real patches of each clip; zeros if there are none."""
    total = jnp.where(real[..., None], x, 0).sum(axis=2)
    return total / jnp.maximum(real.sum(axis=2), 1).astype(x.dtype)[..., None]


def align_to_end(factors: Float[Array, "k c"], depth: int) -> tuple[jax.Array | None, ...]:
    """Return the row of each of `depth` blocks, or None; the last block has the last row."""
    rows = tuple(factors)[-depth:]
    return (None,) * (depth - len(rows)) + rows


def get_factor(site: Site, shared: Any) -> Float[Array, " c"] | None:
    """Return the factor of a block, or None."""
    return None if shared is None else shared[site.tower][site.layer]


def is_clip_bias(path: Path) -> bool:
    """Return whether the parameter at `path` is one of CLIP's own biases."""
    inside = [name for name in path[1:] if not name.startswith("block_")]
    return path[-1] == "bias" and inside[0] in PARTS
