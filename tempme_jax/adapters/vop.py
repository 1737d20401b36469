"""VoP: prompts of both towers; some depend on the frame's position or on all frames.

"VoP: Text-Video Co-operative Prompt Tuning for Cross-Modal Retrieval" (Huang et al., CVPR 2023).
Only its plain form has public code; the rest is written from the paper. The output of a prompt is
discarded after every block, so prompts are keys and values only (see
`tempme_jax.adapters.prompt`). The reducer of the variants F, whose last blocks see whole videos, is
`tempme_jax.reducers.joined.Joined`. See docs/methods/vop.md.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Bool, Float

from tempme_jax.adapters.base import Adapter, Contexts, Path
from tempme_jax.adapters.initializers import make_uniform
from tempme_jax.adapters.prompt import Prompts
from tempme_jax.checks import require_whole
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.tokens import Stage, Tokens
from tempme_jax.reducers.joined import choose_video_level


@dataclasses.dataclass(frozen=True)
class VoP(Adapter):
    """Prompts in every block: some for all frames, some for each.

    Attributes:
        generic: prompts of a block that all frames share.
        positional: prompts of a block that belong to the position of a frame (P).
        contextual: prompts of a block that an LSTM makes from the class tokens of all frames (C).
        video: prompts of each block from `split` on, instead of those above; 0: no split.
        split: number of the first of these blocks, from 0. It must be the block that joins
            frames, if one does. None: two thirds of the depth, 8 of 12 as in the paper.
        text: prompts of a block of the text tower; they take as many positions from the words.
        generator_rate: learning rate of the LSTM and its output layer, as a factor of the run's
            (the paper gives none; ours is a tenth).
        std: standard deviation of all prompts before training.
        unit_mean: False: the mean over the frames is compared as it is, like in the public code. A
            video whose frames differ then has smaller similarities with all texts.
    """

    generic: int = 8
    positional: int = 0
    contextual: int = 0
    video: int = 0
    split: int | None = None
    text: int = 8
    generator_rate: float = 0.1
    std: float = 0.02
    unit_mean: bool = True

    def __post_init__(self):
        for name in ("generic", "positional", "contextual", "video", "text"):
            require_whole(name, getattr(self, name), least=0)
        if self.split is None:
            return
        require_whole("split", self.split, least=0)
        if not self.video:
            raise ValueError(
                f"split={self.split} is the first block with prompts of whole videos, but video=0 "
                "means that there are none; set video=8, or leave split out"
            )

    @property
    def class_token_use(self) -> str:
        return "contextual prompts are made from the class tokens" if self.contextual else ""

    @property
    def text_positions(self) -> int:
        return self.text

    @property
    def unit_videos(self) -> bool:
        return self.unit_mean

    def resolve(self, *, frames: int, words: int, arch: Architecture) -> "Adapter":
        if self.split is not None or not self.video:
            return self
        return dataclasses.replace(self, split=choose_video_level(arch.depth))

    def check(self, stages: Sequence[Stage], arch: Architecture) -> None:
        joined = next((layer for layer, stage in enumerate(stages) if stage.n_cls > 1), None)
        if self.video and joined not in (None, self.split):
            raise ValueError(
                f"split={self.split}, but block {joined} is the first that joins frames; the "
                f"prompts of videos must begin there: set split={joined}"
            )
        for layer, (before, stage) in enumerate(itertools.pairwise(stages), start=1):
            lost = stage.clips * stage.n_cls < before.clips * before.n_cls
            if lost and self.own_prompts and not self.is_video_level(layer):
                raise ValueError(
                    f"block {layer} works on {stage.clips} of {before.clips} frames, and it is not "
                    f"known which ones when their {self.own_prompts} own prompts are made; set "
                    f"video=8 and split={layer} or less, or positional=0 and contextual=0"
                )

    @property
    def own_prompts(self) -> int:
        """Number of prompts of a block that differ between frames."""
        return self.positional + self.contextual

    def is_video_level(self, layer: int) -> bool:
        """Return whether block `layer` has the prompts of whole videos."""
        return self.split is not None and self.video > 0 and layer >= self.split

    def contexts(self, tower: str, dtype: Any) -> Contexts:
        if tower == "video":
            return VideoPrompts(self, dtype, name="prompts")
        if not self.text:
            return super().contexts(tower, dtype)
        return Prompts(self.text, self.std, name="prompts")

    def count_context_tokens(self, tower: str, layer: int) -> int:
        if tower == "text":
            return self.text
        if self.is_video_level(layer):
            return self.video
        return self.generic + self.own_prompts

    def choose_rate(self, path: Path) -> float:
        return self.generator_rate if "generator" in path else 1.0

    def count_context_macs(self, layer: int, stage: Stage, arch: Architecture) -> int:
        """Count keys and values, once if all clips have the same prompts, and the generator."""
        if self.is_video_level(layer) or not self.own_prompts:
            return super().count_context_macs(layer, stage, arch)
        generated = 0
        if self.contextual:  # two LSTMs, each of four gates with two matrices; and the output
            generated = (2 * 4 * 2 + 2 * self.contextual) * arch.width**2
        return stage.clips * (super().count_context_macs(layer, stage, arch) + generated)


class VideoPrompts(nn.Module):
    """The prompts of every block of the video tower."""

    options: VoP
    dtype: Any = None

    @nn.compact
    def __call__(self, layer: int, stage: Stage, tokens: Tokens, shared: Any) -> jax.Array | None:
        """Return the prompts of block `layer`, [b or 1, clips or 1, m, d]; None if m is 0."""
        options, d = self.options, tokens.x.shape[-1]
        normal = nn.initializers.normal(options.std)
        video_level = options.is_video_level(layer)
        rows = []
        if count := options.video if video_level else options.generic:
            rows.append(self.param(f"block_{layer}", normal, (count, d))[None, None])
        if options.positional and not video_level:
            shape = (stage.clips, options.positional, d)
            rows.append(self.param(f"positional_{layer}", normal, shape)[None])
        if options.contextual and not video_level:
            generator = PromptGenerator(options.contextual, self.dtype, name="generator")
            rows.append(generator(*average_class_tokens(tokens, stage.clips)))
        if not rows:
            return None
        clips = jnp.broadcast_shapes(*(a.shape[:2] for a in rows))
        rows = [jnp.broadcast_to(a, (*clips, *a.shape[2:])).astype(tokens.x.dtype) for a in rows]
        return jnp.concatenate(rows, axis=2)


class PromptGenerator(nn.Module):
    """A bidirectional LSTM over the clips, and a linear layer that makes prompts of each."""

    count: int
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t d"], real: Bool[Array, "b t"]
    ) -> Float[Array, "b t m d"]:
        """Return prompts of every clip. Clips with `real` False do not affect the others."""
        b, t, d = x.shape
        past = LstmDirection(dtype=self.dtype, name="forward")(x, real)
        future = LstmDirection(reverse=True, dtype=self.dtype, name="backward")(x, real)
        both = jnp.concatenate([past, future], axis=-1)
        init = make_uniform((2 * d) ** -0.5)
        output = nn.Dense(
            self.count * d, dtype=self.dtype, kernel_init=init, bias_init=init, name="out"
        )
        return output(both).reshape(b, t, self.count, d)


class LstmDirection(nn.Module):
    """One direction of an LSTM with PyTorch's parameters: gates i, f, g, o and two biases."""

    reverse: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "b t d"], real: Bool[Array, "b t"]) -> Float[Array, "b t d"]:
        """Return the outputs, float32. The state does not change where `real` is False."""
        b, _, d = x.shape
        init = make_uniform(d**-0.5)
        of_input, of_state = (self.param(f"weight_{k}", init, (4 * d, d)) for k in ("ih", "hh"))
        bias_ih, bias_hh = (self.param(f"bias_{k}", init, (4 * d,)) for k in ("ih", "hh"))
        x, of_input = promote_dtype(x, of_input, dtype=self.dtype)
        # The state is float32 for every dtype of the activations: its errors would accumulate.
        gates = (x @ of_input.T).astype(jnp.float32) + (bias_ih + bias_hh)[None, None]

        def update(state, clip):
            hidden, cell = state
            gates, real = clip
            i, f, g, o = jnp.split(gates + hidden @ of_state.T, 4, axis=-1)
            new_cell = nn.sigmoid(f) * cell + nn.sigmoid(i) * jnp.tanh(g)
            new_hidden = nn.sigmoid(o) * jnp.tanh(new_cell)
            hidden, cell = jnp.where(real, new_hidden, hidden), jnp.where(real, new_cell, cell)
            return (hidden, cell), hidden

        in_time = gates.swapaxes(0, 1), real.T[:, :, None]
        start = jnp.zeros((b, d)), jnp.zeros((b, d))
        _, hidden = jax.lax.scan(update, start, in_time, reverse=self.reverse)
        return hidden.swapaxes(0, 1)


def average_class_tokens(
    tokens: Tokens, clips: int
) -> tuple[Float[Array, "b clips d"], Bool[Array, "b clips"]]:
    """Average the real class tokens of each of `clips` clips; also return whether it has any.

    `clips` divides t: neighbouring clips that are about to be joined count as one.
    """
    b, _, _, d = tokens.x.shape
    x = tokens.x[:, :, : tokens.n_cls].reshape(b, clips, -1, d)
    real = tokens.size[:, :, : tokens.n_cls].reshape(b, clips, -1, 1) > 0
    count = real.sum(axis=2)
    mean = jnp.where(real, x, 0).sum(axis=2) / jnp.maximum(count, 1).astype(x.dtype)
    return mean, count[:, :, 0] > 0
