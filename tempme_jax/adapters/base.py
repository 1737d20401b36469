"""The base class of all adapters: the sites of the model at which a method can learn something.

An adapter is a frozen dataclass that says which parameters a method trains. Its methods are called
at named sites of the model. Most sites return a callable: a function, or a Flax module, whose
parameters are created where the model calls it. The pretrained arrays therefore keep their names
under every adapter. See docs/adding_a_method.md.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax

from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.layers import Linear
from tempme_jax.networks.tokens import Stage, Tokens
from tempme_jax.vectors import average_rows, normalize

# Path of a parameter in the tree, for example ("video", "block_0", "mlp", "fc", "kernel").
Path = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Site:
    """A block of one of the towers.

    Attributes:
        tower: "video" or "text".
        layer: number of the block, from 0.
        dtype: dtype of the activations; None = that of the parameters.
    """

    tower: str
    layer: int
    dtype: Any = None


# Returns the context of a block, see `Adapter.contexts`.
Contexts = Callable[[int, Stage, Tokens, Any], jax.Array | None]


def keep_output(output: jax.Array, tokens: Tokens, shared: Any) -> jax.Array:
    """Return the output of a branch unchanged: the default of the site `branch`."""
    return output


def make_no_context(layer: int, stage: Stage, tokens: Tokens, shared: Any) -> None:
    """Return no context: the default of the site `contexts`."""
    return None


def make_nothing() -> None:
    """Return no arrays: the default of the sites `shared` and `summary`."""
    return None


def keep_directions(rows: jax.Array, weight: jax.Array) -> jax.Array:
    """Return the rows at length 1: the default of the site `relate`."""
    return normalize(rows)


def keep_words(x: jax.Array, size: jax.Array, ids: jax.Array) -> tuple[jax.Array, ...]:
    """Return the words, and where each text ends: the default of the site `sentence`."""
    return x, size, ids.argmax(axis=1)


@dataclasses.dataclass(frozen=True)
class Adapter:
    """The adapter that trains nothing: CLIP as it was pretrained."""

    @property
    def class_token_use(self) -> str:
        """Say what the adapter does with the class token of a frame; empty if it needs none."""
        return ""

    @property
    def text_positions(self) -> int:
        """Number of positions of the text tower that learned tokens take from the words."""
        return 0

    @property
    def summary_tokens(self) -> int:
        """Number of learned tokens of the whole video, see `summary`."""
        return 0

    @property
    def unit_videos(self) -> bool:
        """True if vectors of videos are made unit length before they are compared with texts."""
        return True

    @property
    def prompts_enter(self) -> bool:
        """True if the context of the first block is part of the input.

        It then takes positions from the words of a text and goes through `ln_pre` in the video
        tower. Otherwise the first block receives it as it is.
        """
        return True

    def resolve(self, *, frames: int, words: int, arch: Architecture) -> "Adapter":
        """Return a copy in which every option that was None has a value.

        Args:
            frames: number of frames of a video.
            words: number of ids of a text, start and end included.
            arch: sizes of the backbone.
        """
        return self

    def check(self, stages: Sequence[Stage], arch: Architecture) -> None:
        """Check that the adapter works with this architecture and a reducer of these `stages`.

        Raises:
            ValueError: if it does not; the message gives the reason and a remedy.
        """

    # Sites of the model. An argument `shared` holds what the site `shared` returned.

    def shared(self, arch: Architecture, dtype: Any) -> Callable[[], Any]:
        """Return a callable that makes arrays which both towers use.

        If it is a module, it must not have a name: its parameters are stored under ("shared",).
        """
        return make_nothing

    def sentence(self, arch: Architecture, dtype: Any) -> Callable[..., tuple[jax.Array, ...]]:
        """Return a callable that makes the input sequence of the text tower.

        It receives the embedded words [b, n, d], their sizes [b, n] (1, or 0 = padding) and the ids
        [b, n]. It returns a sequence [b, m, d], its sizes [b, m] and the index [b] of the end of
        each text. Position embeddings are added afterwards.
        """
        return keep_words

    def summary(self, arch: Architecture, dtype: Any) -> Callable[[], jax.Array | None]:
        """Return a callable that makes tokens [summary_tokens, d] of the whole video, or None.

        They attend to all tokens, and all tokens to them. The vector of the video is then the
        first of them, not the mean over the frames.
        """
        return make_nothing

    def contexts(self, tower: str, dtype: Any) -> Contexts:
        """Return a callable that makes the context of a block: tokens that a clip attends to.

        It is called once for every block with the number of the block, its stage, the tokens that
        enter it and `shared`. It returns [b or 1, stage.clips or 1, m, d] with m =
        `count_context_tokens(tower, layer)`, or None.
        """
        return make_no_context

    def count_context_tokens(self, tower: str, layer: int) -> int:
        """Return the number of context tokens of a clip in block `layer`."""
        return 0

    def relate(self, dtype: Any) -> Callable[[jax.Array, jax.Array], jax.Array]:
        """Return a callable that prepares the vectors of the frames of a video for their mean.

        It receives them, float32 [b, f, e], and their weights [b, f], and returns [b, f, e].
        """
        return keep_directions

    def pool(self, dtype: Any) -> Callable[[jax.Array, jax.Array], jax.Array]:
        """Return a callable from frame vectors, float32 [b, f, e], and weights [b, f] to [b, e].

        An adapter that replaces the weighted mean of what `relate` returns keeps no vectors of
        frames, see `Network.find_frame_problem`; whoever can replaces `relate` instead.
        """
        relate = self.relate(dtype)
        return lambda rows, weight: average_rows(relate(rows, weight), weight)

    # Sites of a block.

    def linear(
        self, features: int, name: str, dtype: Any, role: str = "", *, key_bias: bool = True
    ) -> nn.Module:
        """Return the linear layer `name`.

        Names are "qkv" and "out" in an attention, "fc" and "proj" in an MLP, and "q", "kv" and
        "out" in a cross-attention. Without `key_bias`, the keys of "qkv" have no bias.

        A block may use a frozen layer twice. The second use has another `role` and may have
        parameters of its own (see TESTA).
        """
        return Linear(features, dtype=dtype, key_bias=key_bias, name=name)

    def branch(self, name: str, site: Site) -> Callable[[jax.Array, Tokens, Any], jax.Array]:
        """Return a callable that changes the output of a residual branch, "attn" or "mlp".

        It receives the output of the branch [b, t, n, d], the tokens that the branch read, and
        `shared`. It returns what is added to the residual stream, [b, t, n, d].
        """
        return keep_output

    # What trains.

    def is_trained(self, path: Path) -> bool:
        """Return whether the pretrained array at `path` trains. New parameters always train."""
        return False

    def choose_rate(self, path: Path) -> float:
        """Return the learning rate of the parameter at `path`, as a factor of the run's."""
        return 1.0

    def fold(self, params: dict) -> tuple["Adapter", dict]:
        """Return an adapter and parameters that compute the same at less cost, if possible."""
        return self, params

    # Costs: multiply-accumulates of matrix products for one video.

    def count_context_macs(self, layer: int, stage: Stage, arch: Architecture) -> int:
        """Count those of a block's context, its keys and values. The paper's count omits them."""
        return 3 * self.count_context_tokens("video", layer) * arch.width**2

    def count_block_macs(self, layer: int, stage: Stage, arch: Architecture) -> int:
        """Count what the adapter adds to a block apart from the context."""
        return 0

    def count_pool_macs(self, frames: int, arch: Architecture) -> int:
        """Count what the adapter adds after the blocks."""
        return 0

    @property
    def published_keys_twice(self) -> bool:
        """True if the published code projects keys and values twice (in the paper's count only)."""
        return False
