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

from tempme_jax.adapters.base import Adapter, Site
from tempme_jax.networks.architecture import ACTIVATIONS, Architecture
from tempme_jax.networks.attention import Attention
from tempme_jax.networks.layers import Linear
from tempme_jax.networks.tokens import Stage, Tokens, from_frames
from tempme_jax.reducers.base import Reducer
from tempme_jax.reducers.schedule import schedule
from tempme_jax.vectors import HIGHEST


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

    tower: str
    layer: int
    heads: int
    activation: str
    adapter: Adapter
    reducer: Reducer = Reducer()
    causal: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(
        self, tokens: Tokens, stage: Stage, context: jax.Array | None = None, shared: Any = None
    ) -> Tokens:
        """`stage` says how many clips and tokens there are; see `schedule`."""
        adapter, reducer, layer = self.adapter, self.reducer, self.layer
        site = Site(self.tower, layer, self.dtype)
        ln_1, ln_2 = layer_norm("ln_1", self.dtype), layer_norm("ln_2", self.dtype)
        attention = Attention(self.heads, adapter, self.causal, self.dtype, name="attn")
        mlp = Mlp(adapter, self.activation, self.dtype, name="mlp")

        def across(x, size):
            y, _, evidence = attention(ln_1(x), size, role="temporal")
            return y, evidence

        tokens = reducer.before_attention(layer, stage)(tokens, across)

        context, summary = (None if a is None else ln_1(a) for a in (context, tokens.summary))
        proportional = reducer.proportional(layer)
        y, summary, evidence = attention(
            ln_1(tokens.x), tokens.size, context, summary, proportional=proportional
        )
        y = adapter.branch("attn", site)(y, tokens, shared)
        tokens = tokens.add(y, summary)

        tokens = reducer.after_attention(layer, stage)(tokens, evidence)

        y = adapter.branch("mlp", site)(mlp(ln_2(tokens.x)), tokens, shared)
        summary = tokens.summary
        tokens = tokens.add(y, None if summary is None else mlp(ln_2(summary[:, None]))[:, 0])

        return reducer.after_block(layer, stage)(tokens, evidence)


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
        shared: Any = None,
        *,
        trace: bool = False,
    ) -> tuple[Float[Array, "b e"], Tokens]:
        """The vector of each video, in float32, and the last tokens.

        Args:
            pixels: float [b, f, image_size, image_size, 3], normalised.
            frame_mask: bool [b, f], True where the frame is real; None = all are. What the
                pixels of the others hold changes nothing.
            shared: what the adapter shares between the towers.
            trace: whether the tokens carry the source map.
        """
        arch, adapter = self.arch, self.adapter
        if frame_mask is not None:
            pixels = jnp.where(frame_mask[:, :, None, None, None], pixels, 0)
        tokens = from_frames(self.embed(pixels), frame_mask, trace=trace)
        stages = schedule(
            self.reducer, frames=pixels.shape[1], tokens=1 + arch.patches, depth=arch.depth
        )
        ln_pre = layer_norm("ln_pre", self.dtype)
        summary = adapter.summary(arch, self.dtype)()
        if summary is not None:
            summary = jnp.broadcast_to(summary, (len(pixels), *summary.shape))
        tokens = tokens.replace(x=ln_pre(tokens.x), summary=summary)
        contexts = adapter.contexts("video", self.dtype)
        for layer, stage in enumerate(stages):
            context = contexts(layer, stage, tokens, shared)
            if layer == 0 and context is not None and adapter.prompts_enter:
                context = ln_pre(context)  # as if it had been in the sequence from the start
            block = block_type(remat=self.remat)(
                "video", layer, arch.heads, arch.activation, adapter, self.reducer,
                dtype=self.dtype, name=f"block_{layer}",
            )  # fmt: skip
            tokens = block(tokens, stage, context, shared)
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
        """The class tokens, one for each frame, or the first summary token: projected, pooled."""
        b, c = len(tokens.x), tokens.n_cls
        if tokens.summary is None:
            rows, weight = tokens.x[:, :, :c].reshape(b, -1, self.arch.width), tokens.size[:, :, :c]
        else:
            rows, weight = tokens.summary[:, :1], jnp.ones((b, 1))
        rows = project(self, layer_norm("ln_post", self.dtype)(rows), self.arch.embed_dim)
        return self.adapter.pool(self.dtype)(rows, weight.reshape(rows.shape[:2]))


class TextTower(nn.Module):
    """Token ids to one vector of a text: a sequence is one clip without class token."""

    arch: Architecture
    adapter: Adapter
    dtype: Any = None
    remat: bool = False

    @nn.compact
    def __call__(
        self,
        ids: Int[Array, "b n"],
        mask: Bool[Array, "b n"] | None = None,
        shared: Any = None,
    ) -> Float[Array, "b e"]:
        """The projected token at the end of the text, in float32.

        Args:
            ids: int32 [b, n]; the largest id marks the end of the text, what follows is padding.
            mask: bool [b, n], True on the text; None = all of the row. Padding is never seen by
                the end of the text, so that both give the same.
            shared: what the adapter shares between the towers.
        """
        arch, adapter = self.arch, self.adapter
        b, n = ids.shape
        if n > arch.context_length - adapter.text_positions:
            raise ValueError(
                f"{n} ids and {adapter.text_positions} prompts are more than the model's "
                f"{arch.context_length} positions; give at most "
                f"{arch.context_length - adapter.text_positions} ids"
            )
        table = self.param(
            "token_embedding", nn.initializers.normal(0.02), (arch.vocab_size, arch.text_width)
        )
        position = self.param(
            "position_embedding",
            nn.initializers.normal(0.01),
            (arch.context_length, arch.text_width),
        )
        size = jnp.ones((b, n)) if mask is None else mask.astype(jnp.float32)
        x, size, end = adapter.sentence(arch, self.dtype)(
            jnp.take(table, ids, axis=0, mode="clip"), size, ids
        )
        # Prompts that enter stand behind the first id and move the others.
        entering = adapter.context_tokens("text", 0) if adapter.prompts_enter else 0
        places = np.concatenate([[0], np.arange(1 + entering, x.shape[1] + entering)])
        x = (x + position[places][None]).astype(self.dtype or table.dtype)
        tokens = Tokens(x[:, None], size[:, None], n_cls=0)
        stage = Stage(clips=1, n_cls=0, attention=x.shape[1], mlp=x.shape[1])
        contexts = adapter.contexts("text", self.dtype)
        for layer in range(arch.text_depth):
            context = contexts(layer, stage, tokens, shared)
            if layer == 0 and context is not None and adapter.prompts_enter:
                context = context + position[1 : 1 + entering].astype(context.dtype)[None, None]
            block = block_type(remat=self.remat)(
                "text", layer, arch.text_heads, arch.activation, adapter, causal=True,
                dtype=self.dtype, name=f"block_{layer}",
            )  # fmt: skip
            tokens = block(tokens, stage, context, shared)
        last = tokens.x[jnp.arange(b), 0, end]
        return project(self, layer_norm("ln_final", self.dtype)(last), arch.embed_dim)


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
        """Names the parts: video, text, shared, logit_scale."""
        self.video = VideoTower(self.arch, self.adapter, self.reducer, self.dtype, self.remat)
        self.text = TextTower(self.arch, self.adapter, self.dtype, self.remat)
        self.shared = self.adapter.shared(self.arch, self.dtype)
        self.logit_scale = self.param("logit_scale", nn.initializers.constant(np.log(1 / 0.07)), ())

    def __call__(self, pixels, frame_mask, ids, mask):
        """The vectors of videos and of texts, float32 [b, e] each, not of unit length."""
        return self.encode_video(pixels, frame_mask)[0], self.encode_text(ids, mask)

    def encode_video(self, pixels, frame_mask=None, *, trace: bool = False):
        """See `VideoTower`."""
        return self.video(pixels, frame_mask, self.shared(), trace=trace)

    def encode_text(self, ids, mask=None):
        """See `TextTower`."""
        return self.text(ids, mask, self.shared())


def layer_norm(name: str, dtype: Any) -> nn.LayerNorm:
    """CLIP's layer norm: epsilon 1e-5, statistics in float32."""
    return nn.LayerNorm(epsilon=1e-5, dtype=dtype, use_fast_variance=False, name=name)


def project(tower: nn.Module, x: Float[Array, "*b d"], embed_dim: int) -> Float[Array, "*b e"]:
    """The tower's last product, in float32 whatever the activations are in."""
    d = x.shape[-1]
    kernel = tower.param("projection", nn.initializers.normal(d**-0.5), (d, embed_dim))
    return jnp.matmul(x.astype(jnp.float32), kernel, precision=HIGHEST)
