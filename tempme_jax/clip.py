"""CLIP in Flax Linen: one block for both towers and for every method.

"Learning Transferable Visual Models From Natural Language Supervision" (Radford et al., ICML
2021). The block is written once; what a method changes it asks of two values, an adapter (what is
learned) and a reducer (what happens to the tokens), at named sites.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from tempme_jax.adapters.base import Adapter
from tempme_jax.architecture import ACTIVATIONS, Architecture
from tempme_jax.linear import Linear
from tempme_jax.reducers.base import Reducer
from tempme_jax.reducers.merging import HIGHEST
from tempme_jax.schedule import Step, schedule
from tempme_jax.tokens import Evidence, Tokens, from_frames

# Added to the attention logits of what must not be seen. Finite: a clip of nothing but padding
# then yields numbers that nobody reads, where -inf would yield NaN.
MASKED = -1e9


class Attention(nn.Module):
    """Multi-head self-attention in which a token counts by its size."""

    heads: int
    adapter: Adapter
    proportional: bool = False
    causal: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b t n d"],
        size: Float[Array, "b t n"],
        context: Float[Array, "#b #t m d"] | None = None,
    ) -> tuple[Float[Array, "b t n d"], Evidence]:
        """Attends inside each clip, to its tokens and to the `context`."""
        b, t, n, d = x.shape
        linear = self.adapter.linear(3 * d, "qkv", self.dtype)

        def heads(x):  # [b, t, n, d] -> three of [b, t, h, n, c]
            split = linear(x).reshape(*x.shape[:-1], 3, self.heads, d // self.heads)
            return split.transpose(3, 0, 1, 4, 2, 5)

        q, k, v = heads(x)
        keys = k.astype(jnp.float32).mean(axis=2)  # compared in full precision
        if context is not None:
            k, v = (beside(a, c) for a, c in zip((k, v), heads(context)[1:], strict=True))
        q = q * (d // self.heads) ** -0.5
        logits = jnp.einsum("bthqc,bthkc->bthqk", q, k, preferred_element_type=jnp.float32)
        logits = logits + key_bias(size, k.shape[3], proportional=self.proportional)
        if self.causal:
            logits = logits + causal_bias(n, k.shape[3])
        # The softmax, but divided by its sum only after the product: that has fewer elements.
        weight = jnp.exp(logits - jax.lax.stop_gradient(logits.max(axis=-1, keepdims=True)))
        total = weight.sum(axis=-1, keepdims=True)
        y = jnp.einsum("bthqk,bthkc->bthqc", weight.astype(v.dtype), v)
        y = (y / total).astype(v.dtype).swapaxes(2, 3).reshape(b, t, n, d)
        class_attention = (weight[..., 0, :n] / total[..., 0, :]).mean(axis=2)
        return self.adapter.linear(d, "out", self.dtype)(y), Evidence(keys, class_attention)


def beside(a: Float[Array, "b t h n c"], context: jax.Array) -> Float[Array, "b t h nm c"]:
    """The two in one sequence, `context` [b or 1, t or 1, h, m, c] behind, in every clip."""
    context = jnp.broadcast_to(context, (*a.shape[:3], *context.shape[3:]))
    return jnp.concatenate([a, context], axis=3)


def key_bias(
    size: Float[Array, "b t n"], seen: int, *, proportional: bool
) -> Float[Array, "b t 1 1 seen"]:
    """Added to the logits of every key: log(size), or 0, and `MASKED` for padding."""
    bias = jnp.log(jnp.maximum(size, 1e-6)) if proportional else jnp.zeros_like(size)
    bias = jnp.where(size > 0, bias, MASKED)
    return jnp.pad(bias, ((0, 0), (0, 0), (0, seen - size.shape[2])))[:, :, None, None]


def causal_bias(n: int, seen: int) -> np.ndarray:
    """[1, 1, 1, n, seen]: each of n words sees itself and those before it, and the context.

    The context stands behind the first word, which therefore does not see it.
    """
    query, key = np.arange(n)[:, None], np.arange(seen)[None, :]
    visible = np.where(key < n, key <= query, query > 0)
    return np.where(visible, 0, MASKED).astype(np.float32)[None, None, None]


class Mlp(nn.Module):
    """Two linear layers, four times as wide in between."""

    adapter: Adapter
    activation: str
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "b t n d"]) -> Float[Array, "b t n d"]:
        """Of each token by itself."""
        d = x.shape[-1]
        x = ACTIVATIONS[self.activation](self.adapter.linear(4 * d, "fc", self.dtype)(x))
        return self.adapter.linear(d, "proj", self.dtype)(x)


class Block(nn.Module):
    """One residual block. The adapter and the reducer act at the named sites."""

    layer: int
    heads: int
    activation: str
    adapter: Adapter
    reducer: Reducer
    causal: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, tokens: Tokens, step: Step, context: jax.Array | None = None) -> Tokens:
        """`step` says how many clips and tokens there are; see `schedule`."""
        tokens = self.reducer.before_attention(self.layer, step)(tokens)

        attention = Attention(
            self.heads,
            self.adapter,
            self.reducer.proportional,
            self.causal,
            self.dtype,
            name="attn",
        )
        ln_1 = layer_norm("ln_1", self.dtype)
        context = None if context is None else ln_1(context)
        y, evidence = attention(ln_1(tokens.x), tokens.size, context)
        y = self.adapter.branch("attn", self.dtype)(y, tokens.x)
        tokens = tokens.replace(x=tokens.x + y)

        tokens = self.reducer.after_attention(self.layer, step)(tokens, evidence)

        mlp = Mlp(self.adapter, self.activation, self.dtype, name="mlp")
        y = mlp(layer_norm("ln_2", self.dtype)(tokens.x))
        y = self.adapter.branch("mlp", self.dtype)(y, tokens.x)
        return tokens.replace(x=tokens.x + y)


def block_type(*, remat: bool) -> type[Block]:
    """`Block`, or one that computes itself again in the backward pass."""
    return nn.remat(Block, static_argnums=(2,)) if remat else Block


class VideoTower(nn.Module):
    """Frames to one vector of a video."""

    arch: Architecture
    adapter: Adapter
    reducer: Reducer
    dtype: Any = None
    remat: bool = False

    @nn.compact
    def __call__(
        self,
        pixels: Float[Array, "b f s s 3"],
        frame_mask: Bool[Array, "b f"] | None = None,
        *,
        trace: bool = False,
    ) -> tuple[Float[Array, "b e"], Tokens]:
        """The mean over frames of their vectors of unit length, in float32, and the last tokens.

        Args:
            pixels: float [b, f, image_size, image_size, 3], normalised.
            frame_mask: bool [b, f], True where the frame is real; None = all are. What the
                pixels of the others hold changes nothing.
            trace: whether the tokens carry the source map.
        """
        arch = self.arch
        if frame_mask is not None:
            pixels = jnp.where(frame_mask[:, :, None, None, None], pixels, 0)
        tokens = from_frames(self.embed(pixels), frame_mask, trace=trace)
        steps = schedule(
            self.reducer, frames=pixels.shape[1], tokens=1 + arch.patches, depth=arch.depth
        )
        ln_pre = layer_norm("ln_pre", self.dtype)
        tokens = tokens.replace(x=ln_pre(tokens.x))
        for layer, step in enumerate(steps):
            context = self.adapter.context(layer, self.dtype)(tokens)
            if layer == 0 and context is not None:
                context = ln_pre(context)  # as if it had been in the sequence from the start
            block = block_type(remat=self.remat)(
                layer, arch.heads, arch.activation, self.adapter, self.reducer,
                dtype=self.dtype, name=f"block_{layer}",
            )  # fmt: skip
            tokens = block(tokens, step, context)
        return self.read(tokens), tokens

    def embed(self, pixels: Float[Array, "b f s s 3"]) -> Float[Array, "b f n d"]:
        """Patches, as one matrix product, behind a class token; with positions."""
        arch = self.arch
        b, f = pixels.shape[:2]
        side = arch.image_size // arch.patch
        x = pixels.reshape(b, f, side, arch.patch, side, arch.patch, 3)
        x = x.transpose(0, 1, 2, 4, 3, 5, 6).reshape(b, f, side * side, 3 * arch.patch**2)
        x = Linear(arch.width, use_bias=False, dtype=self.dtype, name="patches")(x)
        scale = nn.initializers.normal(arch.width**-0.5)
        cls = self.param("class_embedding", scale, (arch.width,))
        position = self.param("position_embedding", scale, (1 + arch.patches, arch.width))
        cls, position = cls.astype(x.dtype), position.astype(x.dtype)
        cls = jnp.broadcast_to(cls, (b, f, 1, arch.width))
        return jnp.concatenate([cls, x], axis=2) + position[None, None]

    def read(self, tokens: Tokens) -> Float[Array, "b e"]:
        """The class tokens, one for each frame, projected; unit length each; then their mean."""
        arch, c = self.arch, tokens.n_cls
        frames = tokens.x[:, :, :c].reshape(tokens.x.shape[0], -1, arch.width)
        weight = tokens.size[:, :, :c].reshape(frames.shape[:2])
        frames = project(self, layer_norm("ln_post", self.dtype)(frames), arch.embed_dim)
        total = jnp.einsum("bf,bfe->be", weight, unit_length(frames), precision=HIGHEST)
        return total / jnp.maximum(weight.sum(axis=1, keepdims=True), 1)


class TextTower(nn.Module):
    """Token ids to one vector of a text: a sequence is one clip without class token."""

    arch: Architecture
    adapter: Adapter
    dtype: Any = None
    remat: bool = False

    @nn.compact
    def __call__(
        self, ids: Int[Array, "b n"], mask: Bool[Array, "b n"] | None = None
    ) -> Float[Array, "b e"]:
        """The projected token at the end of the text, in float32.

        Args:
            ids: int32 [b, n]; the largest id marks the end of the text, what follows is padding.
            mask: bool [b, n], True on the text; None = all of the row. Padding is never seen by
                the end of the text, so that both give the same.
        """
        arch, learned = self.arch, self.adapter.context_tokens
        b, n = ids.shape
        if n + learned > arch.context_length:
            raise ValueError(
                f"{n} ids and {learned} prompts are more than the model's "
                f"{arch.context_length} positions; give at most {arch.context_length - learned} ids"
            )
        table = self.param(
            "token_embedding", nn.initializers.normal(0.02), (arch.vocab_size, arch.text_width)
        )
        position = self.param(
            "position_embedding",
            nn.initializers.normal(0.01),
            (arch.context_length, arch.text_width),
        )
        # Learned tokens stand behind the first id and move the others (specification section 3).
        places = np.concatenate([[0], np.arange(1 + learned, n + learned)])
        x = (jnp.take(table, ids, axis=0, mode="clip") + position[places][None]).astype(
            self.dtype or table.dtype
        )
        size = jnp.ones((b, n)) if mask is None else mask.astype(jnp.float32)
        tokens = Tokens(x[:, None], size[:, None], n_cls=0)
        step = Step(clips=1, n_cls=0, attention=n, mlp=n)
        for layer in range(arch.text_depth):
            context = self.adapter.context(layer, self.dtype)(tokens)
            if layer == 0 and context is not None:
                context = context + position[1 : 1 + learned].astype(context.dtype)[None, None]
            block = block_type(remat=self.remat)(
                layer, arch.text_heads, arch.activation, self.adapter, Reducer(), causal=True,
                dtype=self.dtype, name=f"block_{layer}",
            )  # fmt: skip
            tokens = block(tokens, step, context)
        end = tokens.x[jnp.arange(b), 0, ids.argmax(axis=1)]
        return project(self, layer_norm("ln_final", self.dtype)(end), arch.embed_dim)


class Clip(nn.Module):
    """Both towers and the temperature.

    With `remat` blocks are computed again in the backward pass, instead of kept from the forward
    pass: a third more arithmetic, a fraction of the memory.
    """

    arch: Architecture
    adapter: Adapter = Adapter()
    reducer: Reducer = Reducer()
    dtype: Any = None
    remat: bool = False

    def setup(self):
        """Names the parts: video, text, logit_scale."""
        self.video = VideoTower(self.arch, self.adapter, self.reducer, self.dtype, self.remat)
        self.text = TextTower(self.arch, self.adapter, self.dtype, self.remat)
        self.logit_scale = self.param("logit_scale", nn.initializers.constant(np.log(1 / 0.07)), ())

    def __call__(self, pixels, frame_mask, ids, mask):
        """The vectors of videos and of texts, float32 [b, e] each, not of unit length."""
        return self.encode_video(pixels, frame_mask)[0], self.encode_text(ids, mask)

    def encode_video(self, pixels, frame_mask=None, *, trace: bool = False):
        """See `VideoTower`."""
        return self.video(pixels, frame_mask, trace=trace)

    def encode_text(self, ids, mask=None):
        """See `TextTower`."""
        return self.text(ids, mask)


def layer_norm(name: str, dtype: Any) -> nn.LayerNorm:
    """CLIP's layer norm: epsilon 1e-5, statistics in float32."""
    return nn.LayerNorm(epsilon=1e-5, dtype=dtype, use_fast_variance=False, name=name)


def project(tower: nn.Module, x: Float[Array, "*b d"], embed_dim: int) -> Float[Array, "*b e"]:
    """The tower's last product, in float32 whatever the activations are in."""
    d = x.shape[-1]
    kernel = tower.param("projection", nn.initializers.normal(d**-0.5), (d, embed_dim))
    return jnp.matmul(x.astype(jnp.float32), kernel, precision=HIGHEST)


def unit_length(x: Float[Array, "*b e"]) -> Float[Array, "*b e"]:
    """Rows of length 1; zeros stay zeros."""
    return x * jax.lax.rsqrt(jnp.maximum((x * x).sum(axis=-1, keepdims=True), 1e-24))
