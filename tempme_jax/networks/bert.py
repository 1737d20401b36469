"""BERT: blocks of a text that may attend to something seen, and a decoder of answers.

"BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding" (Devlin et al.,
NAACL 2019), with cross-attention in its last blocks as in UMT. A text is one clip without class
tokens.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from tempme_jax.adapters.base import Adapter, Site
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.attention import Attention, Seen, attend, join_heads
from tempme_jax.networks.block import Mlp
from tempme_jax.networks.kept import KEEP_NAMED
from tempme_jax.networks.layers import Linear, make_layer_norm
from tempme_jax.networks.tokens import Stage, Tokens

EPSILON = 1e-12
NORMAL = nn.initializers.normal(0.02)


class CrossAttention(nn.Module):
    """Attention of texts to what they see, whose keys and values are made once."""

    heads: int
    width: int
    adapter: Adapter
    dtype: Any = None
    dropout: float = 0.0

    def setup(self):
        """Name the three linear layers: q, kv, out."""
        linear = self.adapter.linear
        self.q = linear(self.width, "q", self.dtype)
        self.kv = linear(2 * self.width, "kv", self.dtype)
        self.out = linear(self.width, "out", self.dtype)
        self.drop = nn.Dropout(self.dropout)

    def remember(self, seen: Float[Array, "b s w"], there: Bool[Array, "b s"]) -> Seen:
        """Return the keys and values of what is seen."""
        pair = self.kv(seen).reshape(*seen.shape[:2], 2, self.heads, -1)
        k, v = pair.transpose(2, 0, 3, 1, 4)[:, :, None]
        return Seen(k, v, there[:, None].astype(jnp.float32))

    def __call__(self, x: Float[Array, "b 1 n d"], memory: Seen) -> Float[Array, "b 1 n d"]:
        """Attend to `memory` of m videos; the texts of each are b / m neighbouring rows of x."""
        grouped = x.reshape(memory.k.shape[0], 1, -1, x.shape[-1])
        q = self.q(grouped)
        q = q.reshape(*q.shape[:3], self.heads, -1).swapaxes(2, 3)
        quiet = not self.has_rng("dropout")
        y, _ = attend(q, memory, drop=lambda weight: self.drop(weight, deterministic=quiet))
        return self.out(join_heads(y)).reshape(x.shape)


class BertLayer(nn.Module):
    """A block of BERT: each branch is added to the residual stream, which is then normalised.

    Attributes:
        site: its tower and number, which adapters are told.
        width, heads, mlp_width: of its tokens, its attention and its MLP.
        crosses: whether it also attends to what the text sees.
        causal: whether a word sees only itself and those before it.
        dropout: share of activations that training drops.
    """

    site: Site
    width: int
    heads: int
    mlp_width: int
    adapter: Adapter
    crosses: bool = False
    causal: bool = False
    dropout: float = 0.0

    def setup(self):
        """Name the parts: attn, ln_attn, cross, ln_cross, mlp, ln_mlp."""
        dtype, adapter = self.site.dtype, self.adapter
        self.attn = Attention(
            self.heads, adapter, self.causal, dtype, dropout=self.dropout, name="attn"
        )
        self.ln_attn = make_layer_norm("ln_attn", dtype, EPSILON)
        self.attn_branch = adapter.branch("attn", self.site)
        if self.crosses:
            self.cross = CrossAttention(self.heads, self.width, adapter, dtype, self.dropout)
            self.ln_cross = make_layer_norm("ln_cross", dtype, EPSILON)
        self.mlp = nn.remat(Mlp, policy=KEEP_NAMED)(adapter, "gelu", dtype, self.mlp_width)
        self.ln_mlp = make_layer_norm("ln_mlp", dtype, EPSILON)
        self.mlp_branch = adapter.branch("mlp", self.site)
        self.drop = nn.Dropout(self.dropout)

    def remember(self, seen: Float[Array, "b s w"], there: Bool[Array, "b s"]) -> Seen:
        """Return the keys and values of what is seen."""
        return self.cross.remember(seen, there)

    def __call__(
        self, tokens: Tokens, memory: Seen | None = None, context: jax.Array | None = None
    ) -> Tokens:
        """Return the tokens that leave the block."""
        y, _, _ = self.attn(tokens.x, tokens.size, context, n_cls=0)
        x = self.ln_attn(tokens.x + self.drop_some(self.attn_branch(y, tokens, None)))
        if memory is not None:
            x = self.ln_cross(x + self.drop_some(self.cross(x, memory)))
        tokens = tokens.replace(x=x)
        y = self.mlp_branch(self.mlp(x), tokens, None)
        return tokens.replace(x=self.ln_mlp(x + self.drop_some(y)))

    def drop_some(self, x: jax.Array) -> jax.Array:
        """Drop activations in training."""
        return self.drop(x, deterministic=not self.has_rng("dropout"))


class BertTower(nn.Module):
    """Embeds the ids of texts, and runs blocks on them.

    Attributes:
        arch, adapter, dtype, dropout: those of the `Network`.
        tower: its name, which adapters are told.
        depth: number of blocks.
        first_cross: number of the first block that also attends to what the text sees.
        causal: whether a word sees only itself and those before it.
    """

    arch: Architecture
    adapter: Adapter
    dtype: Any
    dropout: float
    depth: int
    first_cross: int
    tower: str = "text"
    causal: bool = False

    def setup(self):
        """Name the parts: embeddings, ln_embed, layer_0 and so on."""
        arch, width = self.arch, self.arch.text_width
        self.words = self.param("token_embedding", NORMAL, (arch.vocab_size, width))
        self.places = self.param("position_embedding", NORMAL, (arch.context_length, width))
        self.kinds = self.param("type_embedding", NORMAL, (2, width))
        self.ln_embed = make_layer_norm("ln_embed", self.dtype, EPSILON)
        self.contexts = self.adapter.contexts(self.tower, self.dtype)
        self.drop = nn.Dropout(self.dropout)
        self.layers = [
            BertLayer(
                Site(self.tower, number, self.dtype), width, arch.text_heads,
                arch.get_mlp_width("text"), self.adapter, crosses=number >= self.first_cross,
                causal=self.causal, dropout=self.dropout, name=f"layer_{number}",
            )
            for number in range(self.depth)
        ]  # fmt: skip

    def embed(self, ids: Int[Array, "b n"], mask: Bool[Array, "b n"] | None) -> Tokens:
        """Return the words of texts with their positions; padding has size 0.

        Raises:
            ValueError: if there are more ids than positions for them.
        """
        n, most = ids.shape[1], self.arch.context_length
        if n > most:
            raise ValueError(f"{n} ids are more than the model's {most} positions")
        words = jnp.take(self.words, ids, axis=0, mode="clip")
        x = self.ln_embed(words + self.kinds[None, :1] + self.places[None, :n])
        x = self.drop(x, deterministic=not self.has_rng("dropout"))
        size = jnp.ones(ids.shape) if mask is None else mask.astype(jnp.float32)
        return Tokens(x[:, None], size[:, None], n_cls=0)

    def run(self, tokens: Tokens, blocks: range, memory: tuple[Seen, ...] | None = None) -> Tokens:
        """Run some blocks; those that also attend to something find it in `memory`, in turn."""
        n = tokens.x.shape[2]
        stage = Stage(clips=1, n_cls=0, attention=n, mlp=n)
        memories = iter(memory or ())
        for number in blocks:
            context = self.contexts(number, stage, tokens, None)
            seen = next(memories) if number >= self.first_cross else None
            tokens = self.layers[number](tokens, seen, context)
        return tokens

    def remember(self, seen: Float[Array, "b s w"], there: Bool[Array, "b s"]) -> tuple[Seen, ...]:
        """Return the keys and values of what is seen, for every block that attends to it."""
        return tuple(layer.remember(seen, there) for layer in self.layers[self.first_cross :])


class AnswerDecoder(BertTower):
    """Tells how likely each word is to come next in an answer, given the states of a question."""

    def setup(self):
        """Name the parts of the tower, and transform, ln_transform, bias."""
        super().setup()
        self.transform = Linear(self.arch.text_width, dtype=self.dtype)
        self.ln_transform = make_layer_norm("ln_transform", self.dtype, EPSILON)
        self.bias = self.param("bias", nn.initializers.zeros, (self.arch.vocab_size,))

    def __call__(
        self,
        ids: Int[Array, "b n"],
        mask: Bool[Array, "b n"] | None,
        memory: tuple[Seen, ...],
    ) -> Float[Array, "b n v"]:
        """Return the logits of the next word at every word, float32.

        Args:
            ids: int32 [b, n], the words of answers.
            mask: bool [b, n], False on padding; None = there is none.
            memory: keys and values of the states of m questions; the answers of each are b / m
                neighbouring rows.
        """
        x = self.run(self.embed(ids, mask), range(self.depth), memory).x[:, 0]
        x = self.ln_transform(nn.gelu(self.transform(x), approximate=False))
        table = self.words.astype(x.dtype)
        logits = jnp.einsum("bnd,vd->bnv", x, table, preferred_element_type=jnp.float32)
        return logits + self.bias[None, None]
