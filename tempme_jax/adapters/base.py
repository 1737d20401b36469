"""The adapter that learns nothing, and the sites at which others learn something.

An adapter is a frozen dataclass that says what is learned beside, or of, the pretrained arrays.
A site returns something that can be called: a function, or a Flax module that gets its parameters
where it is called, so that the pretrained arrays keep their names under every adapter.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax

from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.layers import Linear
from tempme_jax.networks.tokens import Stage, Tokens
from tempme_jax.vectors import mean_direction

# The path of a parameter in the tree, for instance ("video", "block_0", "mlp", "fc", "kernel").
Path = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Site:
    """Where in the model something is learned.

    Attributes:
        tower: "video" or "text".
        layer: the block, from 0.
        dtype: of the activations; None = that of the parameters.
    """

    tower: str
    layer: int
    dtype: Any = None


# What gives the context of every block, see `Adapter.contexts`.
Contexts = Callable[[int, Stage, Tokens, Any], jax.Array | None]


def as_it_is(output: jax.Array, tokens: Tokens, shared: Any) -> jax.Array:
    """The branch site where nothing is learned."""
    return output


def no_context(layer: int, stage: Stage, tokens: Tokens, shared: Any) -> None:
    """The context site where nothing is learned."""
    return None


def nothing() -> None:
    """The sites of arrays where none are learned."""
    return None


def in_order(x: jax.Array, size: jax.Array, ids: jax.Array) -> tuple[jax.Array, ...]:
    """The sentence site where nothing is learned: the words, and where each text ends."""
    return x, size, ids.argmax(axis=1)


@dataclasses.dataclass(frozen=True)
class Adapter:
    """Learns nothing: CLIP as it was pretrained."""

    @property
    def text_positions(self) -> int:
        """How many positions of the text tower learned tokens take from the words."""
        return 0

    @property
    def summary_tokens(self) -> int:
        """How many learned tokens stand for the whole video, see `summary`."""
        return 0

    @property
    def prompts_enter(self) -> bool:
        """Whether the context of the first block is part of the input.

        True: it has positions in the text, which move the words, and goes through `ln_pre` in the
        video tower. False: it meets the first block as it is.
        """
        return True

    def resolve(self, *, frames: int, words: int, depth: int) -> "Adapter":
        """The same with every option that was left open (None) set.

        Args:
            frames: frames of a video.
            words: ids of a text, start and end included.
            depth: blocks of the video tower.
        """
        return self

    def check(self, stages: Sequence[Stage], arch: Architecture) -> None:
        """Raises a ValueError, which says why, if it cannot work beside a reducer of `stages`."""

    # Sites of the model. `shared` is what the site of that name gave.

    def shared(self, arch: Architecture, dtype: Any) -> Callable[[], Any]:
        """Arrays that both towers use; in the parameters under ("shared",).

        A module that is returned must have no name.
        """
        return nothing

    def sentence(self, arch: Architecture, dtype: Any) -> Callable[..., tuple[jax.Array, ...]]:
        """The sequence that the text tower works on.

        It is called with the embedded words [b, n, d], their sizes [b, n] (1, or 0 = padding) and
        the ids [b, n], and returns a sequence [b, m, d], its sizes [b, m], and the place [b] of the
        end of each text in it. Positions are added afterwards.
        """
        return in_order

    def summary(self, arch: Architecture, dtype: Any) -> Callable[[], jax.Array | None]:
        """Tokens [summary_tokens, d] of the whole video: they attend to all, and all to them.

        The video is then read from the first of them.
        """
        return nothing

    def contexts(self, tower: str, dtype: Any) -> Contexts:
        """Tokens that all of a clip attend to in a block.

        It is called once for every block with its number, its stage, the tokens that enter it and
        `shared`, and returns [b or 1, stage.clips or 1, context_tokens, d], or None.
        """
        return no_context

    def context_tokens(self, tower: str, layer: int) -> int:
        """How many of them there are for a clip."""
        return 0

    def pool(self, dtype: Any) -> Callable[[jax.Array, jax.Array], jax.Array]:
        """From the vectors of frames, float32 [b, f, e], and their weights [b, f], to [b, e]."""
        return mean_direction

    # Sites of a block.

    def linear(self, features: int, name: str, dtype: Any, role: str = "") -> nn.Module:
        """The linear layer `name`: "qkv" or "out" of an attention, "fc" or "proj" of an MLP.

        A frozen layer may be used a second time in a block, in another `role`, and then be
        adapted otherwise.
        """
        return Linear(features, dtype=dtype, name=name)

    def branch(self, name: str, site: Site) -> Callable[[jax.Array, Tokens, Any], jax.Array]:
        """What the branch `name` of a block, "attn" or "mlp", adds to the residual stream.

        It is called with the output of the branch [b, t, n, d], the tokens that the branch had
        read, and `shared`.
        """
        return as_it_is

    # What trains.

    def tunes(self, path: Path) -> bool:
        """Whether the pretrained array at `path` trains. What is not pretrained always does."""
        return False

    def rate(self, path: Path) -> float:
        """The learning rate of the parameter at `path`, in units of the recipe's."""
        return 1.0

    def fold(self, params: dict) -> tuple["Adapter", dict]:
        """An adapter and parameters that compute the same at less cost, if there are any."""
        return self, params

    # What it costs: multiply-accumulates of matrix products for one video.

    def context_macs(self, layer: int, stage: Stage, arch: Architecture) -> int:
        """Of making the context of a block, and its keys and values; not in the paper's count."""
        return 3 * self.context_tokens("video", layer) * arch.width**2

    def block_macs(self, layer: int, stage: Stage, arch: Architecture) -> int:
        """Of what it adds to a block beside the context."""
        return 0

    def pool_macs(self, frames: int, arch: Architecture) -> int:
        """Of what it adds behind the blocks."""
        return 0

    @property
    def published_keys_twice(self) -> bool:
        """Whether the published code projects keys and values twice: in the paper's count only."""
        return False
