"""VoP: prompts of both towers, of which some are a frame's own, or are made from all frames.

"VoP: Text-Video Co-operative Prompt Tuning for Cross-Modal Retrieval" (Huang et al., CVPR 2023);
specification section 1. Only its plain form has public code; the rest is written from the paper.
What comes out for a prompt is discarded after every block, so that here prompts are but keys and
values (see `tempme_jax.adapters.prompt`). The reducer of the variants F, whose last blocks see
whole videos, is `tempme_jax.reducers.joined.Joined`.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from tempme_jax.adapters.base import Adapter, Contexts, Path
from tempme_jax.adapters.prompt import Prompts
from tempme_jax.checks import require_whole
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.tokens import Stage, Tokens
from tempme_jax.reducers.joined import video_level


@dataclasses.dataclass(frozen=True)
class VoP(Adapter):
    """Gives every block prompts: some for all frames, some for each.

    Attributes:
        generic: prompts of a block that all frames share.
        positional: prompts of a block that each frame has a table of (P).
        contextual: prompts of a block that are made from the class tokens of all frames (C).
        video: prompts of each block from `split` on, instead of those above; 0: there is no split.
        split: the first of these blocks, from 0; the one that joins frames, if any does. None:
            two thirds of the way, the paper's 8 of 12.
        text: prompts of a block of the text tower; so many words less find room.
        generator_rate: learning rate of what makes the contextual prompts, in units of the
            recipe's (not published; a tenth).
        std: standard deviation of all prompts at the start.
    """

    generic: int = 8
    positional: int = 0
    contextual: int = 0
    video: int = 0
    split: int | None = None
    text: int = 8
    generator_rate: float = 0.1
    std: float = 0.02

    def __post_init__(self):
        for name in ("generic", "positional", "contextual", "video", "text"):
            require_whole(name, getattr(self, name), least=0)
        if self.split is None:
            return
        require_whole("split", self.split, least=0)
        if not self.video:
            raise ValueError(
                f"split={self.split} says where the prompts of whole videos begin, but video=0 "
                "says that there are none; give video=8, or leave split out"
            )

    @property
    def text_positions(self) -> int:
        return self.text

    def resolve(self, *, frames: int, words: int, depth: int) -> "Adapter":
        if self.split is not None or not self.video:
            return self
        return dataclasses.replace(self, split=video_level(depth))

    def check(self, stages: Sequence[Stage], arch: Architecture) -> None:
        joined = next((layer for layer, stage in enumerate(stages) if stage.n_cls > 1), None)
        if self.video and joined not in (None, self.split):
            raise ValueError(
                f"split={self.split}, but block {joined} is the first that joins frames: there "
                f"the prompts of frames end and those of videos begin; give split={joined}"
            )
        for layer, (before, stage) in enumerate(itertools.pairwise(stages), start=1):
            lost = stage.clips * stage.n_cls < before.clips * before.n_cls
            if lost and self.of_frames and not self.of_video(layer):
                raise ValueError(
                    f"block {layer} works on {stage.clips} of {before.clips} frames, and which "
                    f"these are is not known when their {self.of_frames} own prompts are made; "
                    f"give video=8, split={layer} or less, or positional=0 and contextual=0"
                )

    @property
    def of_frames(self) -> int:
        """How many prompts of a block are a frame's own."""
        return self.positional + self.contextual

    def of_video(self, layer: int) -> bool:
        """Whether the prompts of a block are those of whole videos."""
        return self.video > 0 and layer >= self.split

    def contexts(self, tower: str, dtype: Any) -> Contexts:
        if tower == "video":
            return VideoPrompts(self, dtype, name="prompts")
        if not self.text:
            return super().contexts(tower, dtype)
        return Prompts(self.text, self.std, name="prompts")

    def context_tokens(self, tower: str, layer: int) -> int:
        if tower == "text":
            return self.text
        if self.of_video(layer):
            return self.video
        return self.generic + self.of_frames

    def rate(self, path: Path) -> float:
        return self.generator_rate if "generator" in path else 1.0

    def context_macs(self, layer: int, stage: Stage, arch: Architecture) -> int:
        """Of keys and values, once where all clips have the same; and of the generator."""
        if self.of_video(layer) or not self.of_frames:
            return super().context_macs(layer, stage, arch)
        generated = 0
        if self.contextual:  # two LSTMs, each of four gates with two matrices; and the output
            generated = (2 * 4 * 2 + 2 * self.contextual) * arch.width**2
        return stage.clips * (super().context_macs(layer, stage, arch) + generated)


class VideoPrompts(nn.Module):
    """The prompts of every block of the video tower."""

    options: VoP
    dtype: Any = None

    @nn.compact
    def __call__(self, layer: int, stage: Stage, tokens: Tokens, shared: Any) -> jax.Array | None:
        """[b, t, n, d] -> [b or 1, clips or 1, prompts, d]."""
        options, d = self.options, tokens.x.shape[-1]
        normal = nn.initializers.normal(options.std)
        of_video = options.of_video(layer)
        rows = []
        if count := options.video if of_video else options.generic:
            rows.append(self.param(f"block_{layer}", normal, (count, d))[None, None])
        if options.positional and not of_video:
            shape = (stage.clips, options.positional, d)
            rows.append(self.param(f"positional_{layer}", normal, shape)[None])
        if options.contextual and not of_video:
            generator = Generator(options.contextual, self.dtype, name="generator")
            rows.append(generator(*class_tokens(tokens, stage.clips)))
        if not rows:
            return None
        clips = jnp.broadcast_shapes(*(a.shape[:2] for a in rows))
        rows = [jnp.broadcast_to(a, (*clips, *a.shape[2:])).astype(tokens.x.dtype) for a in rows]
        return jnp.concatenate(rows, axis=2)


class Generator(nn.Module):
    """Prompts of every clip from all clips: an LSTM in both directions, and a linear layer."""

    count: int
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t d"], real: Bool[Array, "b t"]
    ) -> Float[Array, "b t m d"]:
        """What stands where `real` is False changes nothing elsewhere."""
        b, t, d = x.shape
        past = Direction(dtype=self.dtype, name="forward")(x, real)
        future = Direction(reverse=True, dtype=self.dtype, name="backward")(x, real)
        both = jnp.concatenate([past, future], axis=-1)
        init = uniform((2 * d) ** -0.5)
        output = nn.Dense(
            self.count * d, dtype=self.dtype, kernel_init=init, bias_init=init, name="out"
        )
        return output(both).reshape(b, t, self.count, d)


class Direction(nn.Module):
    """One direction of an LSTM, with PyTorch's parameters: gates i, f, g, o; two biases."""

    reverse: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "b t d"], real: Bool[Array, "b t"]) -> Float[Array, "b t d"]:
        """The outputs, float32; the state passes unchanged where `real` is False."""
        b, _, d = x.shape
        init = uniform(d**-0.5)
        of_input, of_state = (self.param(f"weight_{k}", init, (4 * d, d)) for k in ("ih", "hh"))
        bias = sum(self.param(f"bias_{k}", init, (4 * d,)) for k in ("ih", "hh"))
        x, of_input = nn.dtypes.promote_dtype(x, of_input, dtype=self.dtype)
        # The state is in float32 whatever the activations are in: errors would add up.
        gates = (x @ of_input.T).astype(jnp.float32) + bias[None, None]

        def one_clip(state, clip):
            hidden, cell = state
            gates, real = clip
            i, f, g, o = jnp.split(gates + hidden @ of_state.T, 4, axis=-1)
            new_cell = nn.sigmoid(f) * cell + nn.sigmoid(i) * jnp.tanh(g)
            new_hidden = nn.sigmoid(o) * jnp.tanh(new_cell)
            hidden, cell = jnp.where(real, new_hidden, hidden), jnp.where(real, new_cell, cell)
            return (hidden, cell), hidden

        in_time = gates.swapaxes(0, 1), real.T[:, :, None]
        start = jnp.zeros((b, d)), jnp.zeros((b, d))
        _, hidden = jax.lax.scan(one_clip, start, in_time, reverse=self.reverse)
        return hidden.swapaxes(0, 1)


def class_tokens(
    tokens: Tokens, clips: int
) -> tuple[Float[Array, "b clips d"], Bool[Array, "b clips"]]:
    """The mean of the real class tokens of each of `clips` clips, and whether it has any.

    `clips` divides t: neighbouring clips that will join count as one.
    """
    b, _, _, d = tokens.x.shape
    x = tokens.x[:, :, : tokens.n_cls].reshape(b, clips, -1, d)
    real = tokens.size[:, :, : tokens.n_cls].reshape(b, clips, -1, 1) > 0
    count = real.sum(axis=2)
    mean = jnp.where(real, x, 0).sum(axis=2) / jnp.maximum(count, 1).astype(x.dtype)
    return mean, count[:, :, 0] > 0


def uniform(bound: float) -> nn.initializers.Initializer:
    """U(-bound, bound)."""

    def draw(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, minval=-bound, maxval=bound)

    return draw
