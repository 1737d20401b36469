"""DGL: prompts that both towers share, and a few tokens of the whole video that see every frame.

"DGL: Dynamic Global-Local Prompt Tuning for Text-Video Retrieval" (Yang et al., AAAI 2024;
specification section 2). Every block of the video tower has local prompts, which each frame sees;
the prompts of the text tower are made from the same arrays. Global prompts see all frames and are
seen by all; the video is read from the first of them.

The published code attends twice, for the frames and for the global prompts, and projects the
same keys and values each time; here they are projected once. It carries local prompts through
attention and MLP and then overwrites them; here they are keys and values only. And it puts
prompts behind the end of the text as well, where under the causal mask the end never sees them:
they are learned here too, so that the count is the paper's, but stand nowhere.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from tempme_jax.adapters.base import Adapter, Contexts
from tempme_jax.adapters.plevu import TransformerBlock, dense, uniform
from tempme_jax.checks import require_whole
from tempme_jax.networks.architecture import ACTIVATIONS, Architecture
from tempme_jax.networks.tokens import Stage, Tokens


class Prompts(NamedTuple):
    """The prompts of all blocks, l, of both towers.

    Attributes:
        video: float [l, f or 1, m, d], of every frame or of all.
        text: float [l, 1, m, d], behind the first word.
        unseen: float [l, 1, m, d], behind the end of the text: no one's keys and values.
    """

    video: Float[Array, "l f m d"]
    text: Float[Array, "l 1 m d"]
    unseen: Float[Array, "l 1 m d"]


@dataclasses.dataclass(frozen=True)
class DGL(Adapter):
    """DGL-Linear: the text tower's prompts are a linear function of the video tower's.

    Attributes:
        frame_prompts: local prompts of a block; the text tower has as many, twice.
        video_prompts: global prompts.
    """

    frame_prompts: int = 4
    video_prompts: int = 4

    def __post_init__(self):
        require_whole("frame_prompts", self.frame_prompts, least=1)
        require_whole("video_prompts", self.video_prompts, least=1)

    @property
    def summary_tokens(self) -> int:
        return self.video_prompts

    @property
    def prompts_enter(self) -> bool:
        return False

    @property
    def published_keys_twice(self) -> bool:
        return True

    def check(self, stages: Sequence[Stage], arch: Architecture) -> None:
        if arch.text_depth > arch.depth:
            raise ValueError(
                f"DGL makes the prompts of a text block from those of the video block of the same "
                f"number: there are {arch.text_depth} text blocks but {arch.depth} video blocks"
            )

    def shared(self, arch: Architecture, dtype: Any) -> Callable[[], Prompts]:
        return SharedLinearly(arch, self.frame_prompts, dtype)

    def summary(self, arch: Architecture, dtype: Any) -> Callable[[], jax.Array]:
        return GlobalPrompts(arch, self.video_prompts, dtype, name="summary")

    def contexts(self, tower: str, dtype: Any) -> Contexts:
        def context(layer: int, stage: Stage, tokens: Tokens, shared: Prompts) -> jax.Array:
            return getattr(shared, tower)[layer][None].astype(tokens.x.dtype)

        return context

    def context_tokens(self, tower: str, layer: int) -> int:
        return self.frame_prompts


@dataclasses.dataclass(frozen=True)
class DGLTransformer(DGL):
    """DGL-Transformer: one block mixes the prompts of both towers; every frame has its own.

    Attributes:
        frames: how many frames have prompts. None: as many as a video has.
    """

    frames: int | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.frames is not None:
            require_whole("frames", self.frames, least=1)

    def resolve(self, *, frames: int, words: int, depth: int) -> Adapter:
        return self if self.frames else dataclasses.replace(self, frames=frames)

    def check(self, stages: Sequence[Stage], arch: Architecture) -> None:
        super().check(stages, arch)
        for layer, stage in enumerate(stages):
            if stage.clips != self.frames:
                raise ValueError(
                    f"DGL-Transformer has prompts for each of {self.frames} frames in every block, "
                    f"but block {layer} works on {stage.clips} clips; keep the frames apart, or "
                    "take DGL-Linear, whose prompts are the same for all"
                )

    def shared(self, arch: Architecture, dtype: Any) -> Callable[[], Prompts]:
        return SharedByTransformer(arch, self.frame_prompts, self.frames, dtype)

    def context_macs(self, layer: int, stage: Stage, arch: Architecture) -> int:
        """The block's own sequence too: once for all videos of a batch, here for one."""
        d, n = arch.width, self.frame_prompts * (2 + self.frames)
        keys_and_values = 3 * stage.clips * self.frame_prompts * d**2
        return keys_and_values + 12 * n * d**2 + 2 * n**2 * d


class SharedLinearly(nn.Module):
    """Local prompts, and two linear layers from them to the prompts of the text tower."""

    arch: Architecture
    count: int
    dtype: Any = None

    @nn.compact
    def __call__(self) -> Prompts:
        """Prompts of all blocks of the video tower, the same for all frames."""
        d, e = self.arch.width, self.arch.text_width
        shape = (self.count, self.arch.depth, d)
        video = self.param("visual_prompt", by_patch(self.arch), shape).swapaxes(0, 1)[:, None]
        text = dense(e, d, self.dtype, "prefix_proj")(video)
        unseen = dense(e, d, self.dtype, "postfix_proj")(video)
        return Prompts(video, text, unseen)


class SharedByTransformer(nn.Module):
    """Prompts of the texts and of all frames: a sequence for every block, all through one layer."""

    arch: Architecture
    count: int
    frames: int
    dtype: Any = None

    @nn.compact
    def __call__(self) -> Prompts:
        """Prompts of all blocks of the video tower, for every frame its own."""
        arch, d = self.arch, self.arch.width
        text_prompts = 2 * self.count  # before and behind the words
        shape = (text_prompts + self.count * self.frames, arch.depth, d)
        x = self.param("prompts", by_patch(arch), shape).swapaxes(0, 1)
        x = x.astype(self.dtype or x.dtype)
        x = TransformerBlock(arch.heads, self.dtype, name="block")(x)
        video = x[:, text_prompts:].reshape(arch.depth, self.frames, self.count, d)
        y = ACTIVATIONS["quick_gelu"](dense(2 * d, d, self.dtype, "fc")(x[:, :text_prompts]))
        y = dense(arch.text_width, 2 * d, self.dtype, "proj")(y)[:, None]
        return Prompts(video, y[:, :, : self.count], y[:, :, self.count :])


class GlobalPrompts(nn.Module):
    """The tokens of the whole video that enter the first block."""

    arch: Architecture
    count: int
    dtype: Any = None

    @nn.compact
    def __call__(self) -> Float[Array, "m d"]:
        """[count, width]."""
        shape = (self.count, self.arch.width)
        prompts = self.param("global_prompt", by_patch(self.arch), shape)
        return prompts.astype(self.dtype or prompts.dtype)


def by_patch(arch: Architecture) -> nn.initializers.Initializer:
    """U(-v, v) with v = sqrt(6 / (3 patch^2 + width)), as VPT draws its prompts."""
    return uniform((6 / (3 * arch.patch**2 + arch.width)) ** 0.5)
