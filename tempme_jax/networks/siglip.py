"""SigLIP and SigLIP 2: towers without class tokens, whose videos are pooled by an attention.

"Sigmoid Loss for Language Image Pre-Training" (Zhai et al., ICCV 2023); "SigLIP 2: Multilingual
Vision-Language Encoders with Improved Semantic Understanding, Localization, and Dense Features"
(Tschannen et al., 2025), of fixed resolution. Both are one network; they differ in their tokenizer,
and so in the id that fills texts up.
"""

from typing import Any, ClassVar

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Bool, Float, Int

from tempme_jax.adapters.base import Adapter
from tempme_jax.late_interaction import FrameVectors
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.attention import Seen, attend, join_heads
from tempme_jax.networks.block import Mlp, choose_block_type
from tempme_jax.networks.layers import LECUN_NORMAL, Linear, make_layer_norm
from tempme_jax.networks.network import Network
from tempme_jax.networks.tokens import Stage, Tokens
from tempme_jax.networks.umt import check_adapter
from tempme_jax.networks.video_tower import VideoTower
from tempme_jax.vectors import HIGHEST

EPSILON = 1e-6
# What training from scratch begins with (section 3 of the paper).
FIRST_SCALE, FIRST_BIAS = np.log(10.0), -10.0


class ProbeLinear(nn.Module):
    """The queries of a probe, and the keys and values of tokens, by one stacked linear layer."""

    dtype: Any = None

    @nn.compact
    def __call__(
        self, probe: Float[Array, " d"], x: Float[Array, "b t n d"]
    ) -> tuple[Float[Array, " d"], Float[Array, "b t n kv"]]:
        """Return the queries of the probe, and the keys and values of the tokens side by side."""
        d = x.shape[-1]
        kernel = self.param("kernel", LECUN_NORMAL, (3 * d, d))
        bias = self.param("bias", nn.initializers.zeros, (3 * d,))
        probe, x, kernel, bias = promote_dtype(probe, x, kernel, bias, dtype=self.dtype)
        q = jnp.matmul(kernel[:d], probe) + bias[:d]
        kv = jax.lax.dot_general(x, kernel[d:], (((3,), (1,)), ((), ())))
        return q, kv + bias[d:][None, None, None]


class AttentionPool(nn.Module):
    """Makes one token of a clip's: a learned probe attends to them, and an MLP follows.

    Attributes:
        heads: heads of the attention.
        activation, mlp_width: of the MLP.
        dtype: dtype of the activations; None = that of the parameters.
    """

    heads: int
    activation: str
    mlp_width: int
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t n d"], size: Float[Array, "b t n"]
    ) -> Float[Array, "b t d"]:
        """Return the token of each clip. Tokens count as often as their sizes, padding never."""
        b, t, _, d = x.shape
        probe = self.param("probe", nn.initializers.normal(d**-0.5), (d,))
        q, kv = ProbeLinear(self.dtype, name="qkv")(probe, x)
        q = jnp.broadcast_to(
            q.reshape(1, 1, self.heads, 1, -1), (b, t, self.heads, 1, q.size // self.heads)
        )
        kv = kv.reshape(b, t, -1, 2, self.heads, d // self.heads).transpose(3, 0, 1, 4, 2, 5)
        y, _ = attend(q, Seen(kv[0], kv[1], size))
        y = Linear(d, dtype=self.dtype, name="out")(join_heads(y))
        inside = make_layer_norm("ln", self.dtype, EPSILON)(y)
        mlp = Mlp(Adapter(), self.activation, self.dtype, self.mlp_width, name="mlp")
        return (y + mlp(inside))[:, :, 0]


class SiglipVideoTower(VideoTower):
    """The video tower of SigLIP: patches alone, pooled by an attention in every clip."""

    epsilon = EPSILON

    def embed(self, pixels: Float[Array, "b f s s 3"], *, joined: bool) -> Float[Array, "b f p d"]:
        """Return the patches of each frame, with their learned positions."""
        arch = self.arch
        x = self.embed_patches(pixels, use_bias=True)
        scale = nn.initializers.normal(arch.width**-0.5)
        position = self.param("position_embedding", scale, (arch.patches, arch.width))
        return x + position.astype(x.dtype)[None, None]

    def read(self, tokens: Tokens, *, frames: int) -> tuple[Float[Array, "b e"], Tokens]:
        """Return the mean direction of the clips' pooled tokens, and the tokens."""
        return self.adapter.pool(self.dtype)(*self.pool_clips(tokens)), tokens

    def read_frames(self, tokens: Tokens, *, frames: int) -> FrameVectors:
        """Return the directions of the pooled tokens, each of a frame, and their mean."""
        return self.average(*self.pool_clips(tokens))

    def pool_clips(self, tokens: Tokens) -> tuple[Float[Array, "b t e"], Float[Array, "b t"]]:
        """Return the pooled token of each clip, float32, and whether it is there, as 1 or 0."""
        arch = self.arch
        x = make_layer_norm("ln_post", self.dtype, EPSILON)(tokens.x)
        pool = AttentionPool(
            arch.heads, arch.activation, arch.get_mlp_width("video"), self.dtype, name="head"
        )
        real = (tokens.size.max(axis=2) > 0).astype(jnp.float32)
        return pool(x, tokens.size).astype(jnp.float32), real


class SiglipTextTower(nn.Module):
    """Maps the ids of a text to one vector, which is read at the last position.

    Every token sees all others, the padding, too: SigLIP was trained so.

    Attributes:
        pad_id: the id that fills texts up.
    """

    arch: Architecture
    adapter: Adapter
    pad_id: int
    dtype: Any = None
    remat: bool = False

    @nn.compact
    def __call__(self, ids: Int[Array, "b n"]) -> Float[Array, "b e"]:
        """Return the vector of each text, float32 [b, e]; rows are filled up to all positions.

        Raises:
            ValueError: if there are more ids than positions for them.
        """
        arch, adapter = self.arch, self.adapter
        tokens = self.enter(ids)
        n = arch.context_length
        stage = Stage(clips=1, n_cls=0, attention=n, mlp=n)
        contexts = adapter.contexts("text", self.dtype)
        for layer in range(arch.text_depth):
            block = choose_block_type(remat=self.remat)(
                "text", layer, arch.text_heads, arch.activation, adapter, dtype=self.dtype,
                mlp_width=arch.get_mlp_width("text"), epsilon=EPSILON, name=f"block_{layer}",
            )  # fmt: skip
            tokens = block(tokens, stage, contexts(layer, stage, tokens, None), None)
        last = make_layer_norm("ln_final", self.dtype, EPSILON)(tokens.x[:, 0, -1])
        return Linear(arch.embed_dim, precision=HIGHEST, name="head")(last.astype(jnp.float32))

    def enter(self, ids: Int[Array, "b n"]) -> Tokens:
        """Return the words of texts with their positions."""
        arch, width = self.arch, self.arch.text_width
        chex.assert_rank(ids, 2)
        left = arch.context_length - ids.shape[1]
        if left < 0:
            raise ValueError(
                f"{ids.shape[1]} ids are more than the model's {arch.context_length} positions"
            )
        if left:
            ids = jnp.pad(ids, ((0, 0), (0, left)), constant_values=self.pad_id)
        normal = nn.initializers.normal
        table = self.param("token_embedding", normal(0.02), (arch.vocab_size, width))
        position = self.param("position_embedding", normal(0.01), (arch.context_length, width))
        x = jnp.take(table, ids, axis=0, mode="clip") + position[None]
        x = x.astype(self.dtype or table.dtype)
        return Tokens(x[:, None], jnp.ones((ids.shape[0], 1, arch.context_length)), n_cls=0)


class Siglip(Network):
    """Both towers of SigLIP, the temperature and the bias of the sigmoid loss."""

    objective = "sigmoid"
    reads_padding = True

    # The name of its tokenizer, and the id that fills texts up.
    tokenizer: ClassVar[str] = "siglip"
    pad_id: ClassVar[int] = 1

    def setup(self):
        """Name the parts: video, text, logit_scale, logit_bias."""
        arch = self.arch
        check_adapter(self, "SigLIP")
        if self.dropout:
            raise ValueError(f"dropout={self.dropout}: SigLIP's text tower has none; leave it at 0")
        if self.tau:
            raise ValueError(
                f"tau={self.tau}: SigLIP's loss compares vectors of whole videos; train it with "
                'train.pooling="mean", and search it by frames all the same'
            )
        if arch.tokenizer != self.tokenizer:
            raise ValueError(
                f"tokenizer={arch.tokenizer!r}: the backbone {arch.backbone!r} reads padding, "
                f"as the tokenizer {self.tokenizer!r} makes it"
            )
        if arch.embed_dim != arch.width:
            raise ValueError(
                f"embed_dim={arch.embed_dim}: the vectors of SigLIP's videos are as wide as their "
                f"tokens, {arch.width}"
            )
        self.video = SiglipVideoTower(
            arch, self.adapter, self.reducer, self.dtype, self.remat, self.drop_path
        )
        self.text = SiglipTextTower(arch, self.adapter, self.pad_id, self.dtype, self.remat)
        self.logit_scale = self.param("logit_scale", nn.initializers.constant(FIRST_SCALE), ())
        self.logit_bias = self.param("logit_bias", nn.initializers.constant(FIRST_BIAS), ())

    def __call__(self, pixels, frame_mask, ids, mask):
        """Return the vectors of videos and of texts, float32 [b, e] each, not of unit length."""
        return self.encode_video(pixels, frame_mask)[0], self.encode_text(ids, mask)

    def encode_video(self, pixels, frame_mask=None, *, trace: bool = False):
        """Return the vectors and the last tokens."""
        return self.video(pixels, frame_mask, trace=trace)

    def encode_video_frames(self, pixels, frame_mask=None):
        """Return the vectors of videos and of their frames."""
        return self.video(pixels, frame_mask, each_frame=True)

    def count_rows(self, last: Stage, frames: int) -> int:
        """Return one for every clip."""
        return last.clips

    def encode_text(self, ids, mask=None):
        """Return the vectors of texts; what is masked is read as it is, like the rest."""
        return self.text(ids)

    @classmethod
    def mark_words(cls, ids: Int[np.ndarray, "b n"]) -> Bool[np.ndarray, "b n"]:
        """Mark the ids that are not what fills texts up."""
        return ids != cls.pad_id

    @staticmethod
    def compute_scale(params: dict) -> jax.Array:
        """Return exp(logit_scale), which SigLIP does not bound."""
        return jnp.exp(params["logit_scale"])

    @staticmethod
    def get_bias(params: dict) -> jax.Array:
        """Return what the loss adds to scaled cosines, float32 []."""
        return params["logit_bias"]

    def count_outside_macs(self, last: Stage, frames: int) -> tuple[int, int]:
        """Count the pooling; the paper's way adds two layer norms, the softmax and scalings."""
        arch, clips = self.arch, last.clips
        d, inside, tokens = arch.width, arch.get_mlp_width("video"), clips * last.out
        pooled = d * d + 2 * tokens * d * d + 2 * tokens * d  # queries, keys and values, attention
        mac = pooled + clips * (d * d + 2 * d * inside)
        elements = 5 * (tokens + clips) * d + arch.heads * tokens + d + 2 * clips * inside
        return mac, mac + elements


class Siglip2(Siglip):
    """SigLIP 2 of fixed resolution: the same network with Gemma's tokenizer."""

    tokenizer = "gemma"
    pad_id = 0
