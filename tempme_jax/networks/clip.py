"""CLIP in Flax Linen: the video tower, the text tower, and both together.

"Learning Transferable Visual Models From Natural Language Supervision" (Radford et al., ICML
2021).
"""

from typing import Any

import chex
import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from tempme_jax.adapters.base import Adapter
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.block import choose_block_type
from tempme_jax.networks.layers import Linear, make_layer_norm, project
from tempme_jax.networks.tokens import Stage, Tokens, make_tokens
from tempme_jax.reducers.base import Reducer
from tempme_jax.reducers.schedule import make_schedule


class VideoTower(nn.Module):
    """Maps the frames of a video to one vector."""

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
        """Return the vector of each video, float32 [b, e], and its last tokens.

        Args:
            pixels: float [b, f, image_size, image_size, 3], normalised.
            frame_mask: bool [b, f], True where a frame is real; None = all are. The pixels of
                masked frames change nothing.
            shared: the arrays that the adapter shares between the towers.
            trace: whether the tokens carry the source map.
        """
        arch, adapter = self.arch, self.adapter
        stages = make_schedule(
            self.reducer, frames=pixels.shape[1], tokens=1 + arch.patches, depth=arch.depth
        )
        ln_pre = make_layer_norm("ln_pre", self.dtype)
        tokens = self.enter(pixels, frame_mask, trace=trace)
        tokens = tokens.replace(x=ln_pre(tokens.x))
        contexts = adapter.contexts("video", self.dtype)
        for layer, stage in enumerate(stages):
            context = contexts(layer, stage, tokens, shared)
            if layer == 0 and context is not None and adapter.prompts_enter:
                context = ln_pre(context)  # as if it had been in the sequence from the start
            block = choose_block_type(remat=self.remat)(
                "video", layer, arch.heads, arch.activation, adapter, self.reducer,
                dtype=self.dtype, mlp_width=arch.get_mlp_width("video"), name=f"block_{layer}",
            )  # fmt: skip
            tokens = block(tokens, stage, context, shared)
        return self.read(tokens), tokens

    def enter(
        self, pixels: Float[Array, "b f s s 3"], mask: Bool[Array, "b f"] | None, *, trace: bool
    ) -> Tokens:
        """Return one clip of tokens for each frame, and the adapter's tokens of the whole video."""
        side = self.arch.image_size
        chex.assert_shape(pixels, (None, None, side, side, 3))
        if mask is not None:
            chex.assert_shape(mask, pixels.shape[:2])
            pixels = jnp.where(mask[:, :, None, None, None], pixels, 0)
        tokens = make_tokens(self.embed(pixels), mask, trace=trace)
        summary = self.adapter.summary(self.arch, self.dtype)()
        if summary is not None:
            summary = jnp.broadcast_to(summary, (len(pixels), *summary.shape))
        return tokens.replace(summary=summary)

    def embed(self, pixels: Float[Array, "b f s s 3"]) -> Float[Array, "b f n d"]:
        """Return a class token and the patches of each frame, with their positions.

        The patches are embedded by one matrix product.
        """
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
        """Return the pooled projections of all class tokens, or of the first summary token."""
        b, c = len(tokens.x), tokens.n_cls
        if tokens.summary is None:
            rows, weight = tokens.x[:, :, :c].reshape(b, -1, self.arch.width), tokens.size[:, :, :c]
        else:
            rows, weight = tokens.summary[:, :1], jnp.ones((b, 1))
        rows = project(self, make_layer_norm("ln_post", self.dtype)(rows), self.arch.embed_dim)
        return self.adapter.pool(self.dtype)(rows, weight.reshape(rows.shape[:2]))


class TextTower(nn.Module):
    """Maps the ids of a text to one vector; a text is one clip without class tokens."""

    arch: Architecture
    adapter: Adapter
    dtype: Any = None
    remat: bool = False

    @nn.compact
    def __call__(
        self, ids: Int[Array, "b n"], mask: Bool[Array, "b n"] | None = None, shared: Any = None
    ) -> Float[Array, "b e"]:
        """Return the projected token at the end of each text, float32 [b, e].

        Args:
            ids: int32 [b, n]; the largest id marks the end of the text, what follows is padding.
            mask: bool [b, n], True on the text; None = all of the row. The end of the text never
                sees padding, so both give the same.
            shared: the arrays that the adapter shares between the towers.

        Raises:
            ValueError: if there are more ids than positions for them.
        """
        arch, adapter = self.arch, self.adapter
        tokens, end, prompt_positions = self.enter(ids, mask)
        n = tokens.x.shape[2]
        stage = Stage(clips=1, n_cls=0, attention=n, mlp=n)
        contexts = adapter.contexts("text", self.dtype)
        for layer in range(arch.text_depth):
            context = contexts(layer, stage, tokens, shared)
            if layer == 0 and context is not None and adapter.prompts_enter:
                context = context + prompt_positions.astype(context.dtype)[None, None]
            block = choose_block_type(remat=self.remat)(
                "text", layer, arch.text_heads, arch.activation, adapter, causal=True,
                dtype=self.dtype, mlp_width=arch.get_mlp_width("text"), name=f"block_{layer}",
            )  # fmt: skip
            tokens = block(tokens, stage, context, shared)
        last = tokens.x[jnp.arange(len(ids)), 0, end]
        return project(self, make_layer_norm("ln_final", self.dtype)(last), arch.embed_dim)

    def enter(
        self, ids: Int[Array, "b n"], mask: Bool[Array, "b n"] | None
    ) -> tuple[Tokens, Int[Array, " b"], Float[Array, "p d"]]:
        """Return the tokens of the texts, their ends, and the positions of prompts that enter."""
        arch, adapter = self.arch, self.adapter
        chex.assert_rank(ids, 2)
        if mask is not None:
            chex.assert_equal_shape((ids, mask))
        most = arch.context_length - adapter.text_positions
        if ids.shape[1] > most:
            raise ValueError(
                f"{ids.shape[1]} ids and {adapter.text_positions} prompts are more than the "
                f"model's {arch.context_length} positions; give at most {most} ids"
            )
        normal, width = nn.initializers.normal, arch.text_width
        table = self.param("token_embedding", normal(0.02), (arch.vocab_size, width))
        position = self.param("position_embedding", normal(0.01), (arch.context_length, width))
        size = jnp.ones(ids.shape) if mask is None else mask.astype(jnp.float32)
        words = jnp.take(table, ids, axis=0, mode="clip")
        x, size, end = adapter.sentence(arch, self.dtype)(words, size, ids)
        # Prompts that enter stand behind the first id and move the others.
        entering = adapter.count_context_tokens("text", 0) if adapter.prompts_enter else 0
        places = np.concatenate([[0], np.arange(1 + entering, x.shape[1] + entering)])
        x = (x + position[places][None]).astype(self.dtype or table.dtype)
        tokens = Tokens(x[:, None], size[:, None], n_cls=0)
        return tokens, end, jnp.asarray(position[1 : 1 + entering])


class Clip(nn.Module):
    """Both towers and the temperature.

    Attributes:
        arch: sizes of the towers.
        adapter: what is learned.
        reducer: what happens to the tokens.
        dtype: dtype of the activations; None = that of the parameters.
        remat: whether blocks are computed again in the backward pass, instead of kept from the
            forward pass: a third more arithmetic, a fraction of the memory.
    """

    arch: Architecture
    adapter: Adapter = Adapter()
    reducer: Reducer = Reducer()
    dtype: Any = None
    remat: bool = False

    def setup(self):
        """Name the parts: video, text, shared, logit_scale."""
        self.video = VideoTower(self.arch, self.adapter, self.reducer, self.dtype, self.remat)
        self.text = TextTower(self.arch, self.adapter, self.dtype, self.remat)
        self.shared = self.adapter.shared(self.arch, self.dtype)
        self.logit_scale = self.param("logit_scale", nn.initializers.constant(np.log(1 / 0.07)), ())

    def __call__(self, pixels, frame_mask, ids, mask):
        """Return the vectors of videos and of texts, float32 [b, e] each, not of unit length."""
        return self.encode_video(pixels, frame_mask)[0], self.encode_text(ids, mask)

    def encode_video(self, pixels, frame_mask=None, *, trace: bool = False):
        """Return what `VideoTower` returns."""
        return self.video(pixels, frame_mask, self.shared(), trace=trace)

    def encode_text(self, ids, mask=None):
        """Return what `TextTower` returns."""
        return self.text(ids, mask, self.shared())
