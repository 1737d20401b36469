"""DGL: prompts that both towers share, and a few tokens that see every frame of the video.

"DGL: Dynamic Global-Local Prompt Tuning for Text-Video Retrieval" (Yang et al., AAAI 2024). Every
block of the video tower has local prompts, to which each frame attends. The prompts of the text
tower are computed from the same arrays. Global prompts attend to all frames, and all frames to
them; the vector of the video is the first global prompt. See docs/methods/dgl.md.

Differences from the published code:

* It attends twice, for the frames and for the global prompts, and projects the same keys and
  values each time. Here they are projected once.
* It sends local prompts through attention and MLP and then overwrites them. Here they are keys and
  values only.
* It also puts prompts after the end of the text, where the causal mask hides them. Here they are
  parameters too, so the count is the paper's, but they are in no sequence.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from tempme_jax.adapters.base import Adapter, Contexts
from tempme_jax.adapters.initializers import make_dense, make_uniform
from tempme_jax.adapters.transformer import TransformerBlock
from tempme_jax.checks import require_whole
from tempme_jax.networks.architecture import ACTIVATIONS, Architecture
from tempme_jax.networks.tokens import Stage, Tokens


class SharedPrompts(NamedTuple):
    """The prompts of all l blocks of both towers.

    Attributes:
        video: float [l, f or 1, m, d], prompts of each frame, or of all frames alike.
        text: float [l, 1, m, d], prompts after the first word.
        unseen: float [l, 1, m, d], prompts after the end of the text, which nothing attends to.
    """

    video: Float[Array, "l f m d"]
    text: Float[Array, "l 1 m d"]
    unseen: Float[Array, "l 1 m d"]


@dataclasses.dataclass(frozen=True)
class DGL(Adapter):
    """DGL-Linear: the text tower's prompts are a linear function of the video tower's.

    Attributes:
        frame_prompts: number of local prompts of a block. A text block has as many after the
            first word, and as many again that nothing attends to.
        video_prompts: number of global prompts.
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
    def class_token_use(self) -> str:
        return "the vectors of frames that its prompts serve are their class tokens"

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

    def shared(self, arch: Architecture, dtype: Any) -> Callable[[], SharedPrompts]:
        return LinearPrompts(arch, self.frame_prompts, dtype)

    def summary(self, arch: Architecture, dtype: Any) -> Callable[[], jax.Array]:
        return GlobalPrompts(arch, self.video_prompts, dtype, name="summary")

    def contexts(self, tower: str, dtype: Any) -> Contexts:
        def get_context(
            layer: int, stage: Stage, tokens: Tokens, shared: SharedPrompts
        ) -> jax.Array:
            return getattr(shared, tower)[layer][None].astype(tokens.x.dtype)

        return get_context

    def count_context_tokens(self, tower: str, layer: int) -> int:
        return self.frame_prompts


@dataclasses.dataclass(frozen=True)
class DGLTransformer(DGL):
    """DGL-Transformer: one block mixes the prompts of both towers; every frame has its own.

    Attributes:
        frames: number of frames that have prompts. None: the number of frames of a video.
    """

    frames: int | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.frames is not None:
            require_whole("frames", self.frames, least=1)

    def resolve(self, *, frames: int, words: int, arch: Architecture) -> Adapter:
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

    def shared(self, arch: Architecture, dtype: Any) -> Callable[[], SharedPrompts]:
        assert self.frames is not None  # set by `resolve`
        return TransformerPrompts(arch, self.frame_prompts, self.frames, dtype)

    def count_context_macs(self, layer: int, stage: Stage, arch: Architecture) -> int:
        """Count the prompts' own transformer too, which runs once a batch, as if for one video."""
        assert self.frames is not None  # set by `resolve`
        d, n = arch.width, self.frame_prompts * (2 + self.frames)
        keys_and_values = 3 * stage.clips * self.frame_prompts * d**2
        return keys_and_values + 12 * n * d**2 + 2 * n**2 * d


class LinearPrompts(nn.Module):
    """Local prompts, and two linear layers from them to the prompts of the text tower."""

    arch: Architecture
    count: int
    dtype: Any = None

    @nn.compact
    def __call__(self) -> SharedPrompts:
        """Return the prompts of all blocks, the same for all frames."""
        d, e = self.arch.width, self.arch.text_width
        shape = (self.count, self.arch.depth, d)
        video = self.param("visual_prompt", make_patch_uniform(self.arch), shape).swapaxes(0, 1)[
            :, None
        ]
        text = make_dense(e, d, self.dtype, "prefix_proj")(video)
        unseen = make_dense(e, d, self.dtype, "postfix_proj")(video)
        return SharedPrompts(video, text, unseen)


class TransformerPrompts(nn.Module):
    """Prompts of the text and of all frames, mixed by one transformer block for every block."""

    arch: Architecture
    count: int
    frames: int
    dtype: Any = None

    @nn.compact
    def __call__(self) -> SharedPrompts:
        """Return the prompts of all blocks, different for every frame."""
        arch, d = self.arch, self.arch.width
        text_prompts = 2 * self.count  # before and after the words
        shape = (text_prompts + self.count * self.frames, arch.depth, d)
        # As PyTorch's Embedding.
        x = self.param("prompts", nn.initializers.normal(1.0), shape).swapaxes(0, 1)
        x = x.astype(self.dtype or x.dtype)
        x = TransformerBlock(arch.heads, self.dtype, name="block")(x)
        video = x[:, text_prompts:].reshape(arch.depth, self.frames, self.count, d)
        y = ACTIVATIONS["quick_gelu"](make_dense(2 * d, d, self.dtype, "fc")(x[:, :text_prompts]))
        y = make_dense(arch.text_width, 2 * d, self.dtype, "proj")(y)[:, None]
        return SharedPrompts(video, y[:, :, : self.count], y[:, :, self.count :])


class GlobalPrompts(nn.Module):
    """The global prompts, which enter the first block."""

    arch: Architecture
    count: int
    dtype: Any = None

    @nn.compact
    def __call__(self) -> Float[Array, "m d"]:
        """Return the prompts, [count, width]."""
        shape = (self.count, self.arch.width)
        prompts = self.param("global_prompt", make_patch_uniform(self.arch), shape)
        return prompts.astype(self.dtype or prompts.dtype)


def make_patch_uniform(arch: Architecture) -> nn.initializers.Initializer:
    """Return the initializer of VPT: U(-v, v) with v = sqrt(6 / (3 patch^2 + width))."""
    return make_uniform((6 / (3 * arch.patch**2 + arch.width)) ** 0.5)
