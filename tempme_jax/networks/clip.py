"""CLIP in Flax Linen: the video tower, the text tower, and both together.

"Learning Transferable Visual Models From Natural Language Supervision" (Radford et al., ICML
2021).
"""

from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from tempme_jax.adapters.base import Adapter
from tempme_jax.late_interaction import FrameVectors
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.block import choose_block_type
from tempme_jax.networks.layers import make_layer_norm, project
from tempme_jax.networks.marks import mark_to_end
from tempme_jax.networks.network import Network
from tempme_jax.networks.tokens import Stage, Tokens
from tempme_jax.networks.video_tower import VideoTower

# CLIP keeps its temperature at 1 / 100 or above (Radford et al., section 2.5).
LARGEST_LOGIT_SCALE = np.float32(np.log(100))
# With less, one frame has all of the score, and nothing is learned of the others.
LEAST_TAU = np.float32(0.001)


class ClipVideoTower(VideoTower):
    """The video tower of CLIP: every frame has a class token, from which its vector is read."""

    def embed(self, pixels: Float[Array, "b f s s 3"], *, joined: bool) -> Float[Array, "b f n d"]:
        """Return a class token and the patches of each frame, with their learned positions."""
        arch = self.arch
        x = self.embed_patches(pixels, use_bias=False)
        scale = nn.initializers.normal(arch.width**-0.5)
        cls = self.param("class_embedding", scale, (arch.width,))
        position = self.param("position_embedding", scale, (arch.tokens, arch.width))
        cls, position = cls.astype(x.dtype), position.astype(x.dtype)
        cls = jnp.broadcast_to(cls, (*x.shape[:2], 1, arch.width))
        return jnp.concatenate([cls, x], axis=2) + position[None, None]

    def make_entrance_norm(self) -> nn.LayerNorm:
        """Return the layer norm before the first block."""
        return make_layer_norm("ln_pre", self.dtype)

    def read(self, tokens: Tokens, *, frames: int) -> tuple[Float[Array, "b e"], Tokens]:
        """Return the pooled projections of all class tokens, or of the first summary token."""
        return self.adapter.pool(self.dtype)(*self.project_tokens(tokens)), tokens

    def read_frames(self, tokens: Tokens, *, frames: int) -> FrameVectors:
        """Return the projections of all class tokens, those of frames in their order, and the mean.

        Clips that were joined have their class tokens in the order of their frames.
        """
        return self.average(*self.project_tokens(tokens))

    def project_tokens(self, tokens: Tokens) -> tuple[Float[Array, "b m e"], Float[Array, "b m"]]:
        """Return the projections that are pooled, and their weights."""
        b, c = tokens.x.shape[0], tokens.n_cls
        if tokens.summary is None:
            rows, weight = tokens.x[:, :, :c].reshape(b, -1, self.arch.width), tokens.size[:, :, :c]
        else:
            rows, weight = tokens.summary[:, :1], jnp.ones((b, 1))
        rows = project(self, make_layer_norm("ln_post", self.dtype)(rows), self.arch.embed_dim)
        return rows, weight.reshape(rows.shape[:2])


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
        last = tokens.x[jnp.arange(ids.shape[0]), 0, end]
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


class Clip(Network):
    """Both towers of CLIP and the temperature."""

    def setup(self):
        """Name the parts: video, text, shared, logit_scale, log_tau."""
        if self.dropout:
            raise ValueError(f"dropout={self.dropout}: CLIP's text tower has none; leave it at 0")
        self.video = ClipVideoTower(
            self.arch, self.adapter, self.reducer, self.dtype, self.remat, self.drop_path
        )
        self.text = TextTower(self.arch, self.adapter, self.dtype, self.remat)
        self.shared = self.adapter.shared(self.arch, self.dtype)
        self.logit_scale = self.param("logit_scale", nn.initializers.constant(np.log(1 / 0.07)), ())
        if self.tau:
            self.log_tau = self.param("log_tau", nn.initializers.constant(np.log(self.tau)), ())

    def __call__(self, pixels, frame_mask, ids, mask):
        """Return the vectors of videos and of texts, float32 [b, e] each, not of unit length."""
        return self.encode_video(pixels, frame_mask)[0], self.encode_text(ids, mask)

    def encode_video(self, pixels, frame_mask=None, *, trace: bool = False):
        """Return the vectors and the last tokens."""
        return self.video(pixels, frame_mask, self.shared(), trace=trace)

    def encode_video_frames(self, pixels, frame_mask=None):
        """Return the vectors of videos and of their frames."""
        return self.video(pixels, frame_mask, self.shared(), each_frame=True)

    def count_rows(self, last: Stage, frames: int) -> int:
        """Return one for every class token."""
        return last.clips * last.n_cls

    def encode_text(self, ids, mask=None):
        """Return the vectors of texts."""
        return self.text(ids, mask, self.shared())

    @staticmethod
    def mark_words(ids: Int[np.ndarray, "b n"]) -> Bool[np.ndarray, "b n"]:
        """Mark the ids up to the largest one, which ends a text."""
        return mark_to_end(ids)

    @staticmethod
    def compute_scale(params: dict) -> jax.Array:
        """Return exp(logit_scale)."""
        return jnp.exp(params["logit_scale"])

    @staticmethod
    def limit(params: dict) -> dict:
        """Return parameters whose logit_scale keeps the temperature at 1 / 100 or above.

        That of late interaction stays at `LEAST_TAU` or above.
        """
        params = dict(params)
        if "logit_scale" in params:
            params["logit_scale"] = jnp.minimum(params["logit_scale"], LARGEST_LOGIT_SCALE)
        if "log_tau" in params:
            params["log_tau"] = jnp.maximum(params["log_tau"], np.log(LEAST_TAU))
        return params

    def count_outside_macs(self, last: Stage, frames: int) -> tuple[int, int]:
        """Count the projection, and for the paper also both layer norms."""
        width, embed_dim, summary = (
            self.arch.width,
            self.arch.embed_dim,
            self.adapter.summary_tokens,
        )
        read, published = (1 if summary else n for n in (last.clips * last.n_cls, frames))
        norms = 5 * frames * width * (self.arch.tokens + 1)
        return read * width * embed_dim, norms + published * width * embed_dim
