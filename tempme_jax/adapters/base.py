"""The adapter that learns nothing, and the sites at which others learn something.

An adapter is a frozen dataclass that says what is learned beside, or of, the pretrained arrays.
A site returns something that can be called: a function, or a Flax module that gets its parameters
where it is called, so that the pretrained arrays keep their names under every adapter.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from tempme_jax.linear import Linear
from tempme_jax.tokens import Tokens

# The path of a parameter in the tree, for instance ("video", "block_0", "mlp", "fc", "kernel").
Path = tuple[str, ...]


def as_it_is(output: jax.Array, stream: jax.Array) -> jax.Array:
    """The branch site where nothing is learned."""
    return output


def no_context(tokens: Tokens) -> None:
    """The context site where nothing is learned."""
    return None


@dataclasses.dataclass(frozen=True)
class Adapter:
    """Learns nothing: CLIP as it was pretrained."""

    @property
    def context_tokens(self) -> int:
        """How many learned tokens every clip attends to, beside its own."""
        return 0

    def linear(self, features: int, name: str, dtype: Any) -> nn.Module:
        """The linear layer `name`: "qkv" or "out" of an attention, "fc" or "proj" of an MLP."""
        return Linear(features, dtype=dtype, name=name)

    def branch(self, name: str, dtype: Any) -> Callable[[jax.Array, jax.Array], jax.Array]:
        """What the branch `name` of a block, "attn" or "mlp", adds to the residual stream.

        It is called with the output of the branch and with the stream that the branch had read,
        both [b, t, n, d].
        """
        return as_it_is

    def context(self, layer: int, dtype: Any) -> Callable[[Tokens], jax.Array | None]:
        """Tokens [b or 1, t or 1, context_tokens, d] that all of a clip attend to in a block."""
        return no_context

    def tunes(self, path: Path) -> bool:
        """Whether the pretrained array at `path` trains. What is not pretrained always does."""
        return False

    def fold(self, params: dict) -> tuple["Adapter", dict]:
        """An adapter and parameters that compute the same at less cost, if there are any."""
        return self, params

    def macs_per_token(self, width: int) -> int:
        """Multiply-accumulates that it adds to every token of the MLP of a block."""
        return 0
