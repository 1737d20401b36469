"""Joined: from one block on, all frames of a video are one sequence, and every token stays.

The variants F of "VoP: Text-Video Co-operative Prompt Tuning for Cross-Modal Retrieval" (Huang et
al., CVPR 2023). Nothing merges, so the cost of attention grows with the square of the number of
frames. See docs/methods/vop.md.
"""

import dataclasses
from collections.abc import Callable

import flax.linen as nn

from tempme_jax.checks import require_whole
from tempme_jax.networks.tokens import Stage, Tokens, join_clips
from tempme_jax.reducers.base import Attend, Reducer, make_stage


@dataclasses.dataclass(frozen=True)
class Joined(Reducer):
    """Join all frames into one clip before one block.

    Attributes:
        layer: number of that block, from 0. None: two thirds of the depth, 8 of 12 as in the
            paper.
        positions: True to first add a learned position of its frame to every token.
        position_std: standard deviation of these positions before training.
    """

    layer: int | None = None
    positions: bool = True
    position_std: float = 0.0

    def __post_init__(self):
        if self.layer is not None:
            require_whole("layer", self.layer, least=0)

    def resolve(self, *, patches: int, frames: int, depth: int, n_cls: int = 1) -> "Reducer":
        if self.layer is not None:
            return self
        return dataclasses.replace(self, layer=choose_video_level(depth))

    def check(self, depth: int) -> None:
        require_whole("layer", self.layer, least=0, most=depth - 1)

    def stage(self, layer: int, before: Stage) -> Stage:
        if layer != self.layer:
            return make_stage(before)
        n = before.clips * before.out
        return Stage(clips=1, n_cls=before.clips * before.n_cls, attention=n, mlp=n)

    def before_attention(self, layer: int, stage: Stage) -> Callable[[Tokens, Attend], Tokens]:
        if layer != self.layer:
            return super().before_attention(layer, stage)
        if self.positions:
            return JoinFrames(self.position_std, name="join_frames")
        return lambda tokens, attend: join_clips(tokens, tokens.x.shape[1])


class JoinFrames(nn.Module):
    """Add to every token the learned position of its frame, then join all clips."""

    std: float

    @nn.compact
    def __call__(self, tokens: Tokens, attend: Attend) -> Tokens:
        """Map [b, t, n, d] to [b, 1, t * n, d], all class tokens first."""
        t, d = tokens.x.shape[1], tokens.x.shape[3]
        position = self.param("frame_position", nn.initializers.normal(self.std), (t, d))
        x = tokens.x + position[None, :, None, :].astype(tokens.x.dtype)
        return join_clips(tokens.replace(x=x), t)


def choose_video_level(depth: int) -> int:
    """Return the first block of VoP's video level: 8 of 12, as in the paper."""
    return 2 * depth // 3
