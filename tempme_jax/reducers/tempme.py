"""TempMe: tokens merge inside each frame, then across neighbouring frames.

"TempMe: Video Temporal Token Merging for Efficient Text-Video Retrieval" (Shen et al., ICLR
2025). The early blocks are ToMe's (ImgMe). In a few late ones (ClipMe) neighbouring clips become
one: their tokens first merge across clips, compared as they are, then attend to each other, then
merge again, compared by their keys.
"""

import dataclasses
import itertools
import math
import numbers
from collections.abc import Callable
from fractions import Fraction

import flax.linen as nn
import jax

from tempme_jax.checks import require_wholes
from tempme_jax.networks.tokens import Stage, Tokens, join_clips
from tempme_jax.reducers.base import Attend, Reducer, block_numbers, merge_tokens, require_blocks
from tempme_jax.reducers.merging import max_merged
from tempme_jax.reducers.tome import ToMe

# The ClipMe blocks that join clips are the 9th to 11th of 12 (the paper, section 4.1).
BLOCKS_AFTER_LAST_JOIN = 1
MOST_JOINS = 3
# The paper's R_C and R_I: 70 %, 90 % for the 49 patches of B/32; 60 %, 80 % for the 196 of B/16.
FEW_PATCHES = 100


@dataclasses.dataclass(frozen=True)
class TempMe(ToMe):
    """Merges tokens inside frames, then across clips.

    What is None is set by the backbone and the number of frames, as in the paper.

    Attributes:
        r: tokens of a frame that merge away in every block before the first of `layers`.
        layers: the blocks (from 0) that join clips, ascending; 8, 9, 10 of 12 blocks.
        groups: how many clips become one at each of `layers`; 2, 2, 3 for 12 frames, 2, 2, 2 for
            8, 4, 4, 4 for 64. A group of 1 joins nothing but still merges.
        keep_cross: R_C in (0, 1], the share of tokens kept by the merging across clips.
        keep_intra: R_I in (0, 1], the share kept by the merging inside the clip. At most half of
            the tokens can merge at once, so that smaller shares act as one half.
        clip_positions: whether each incoming clip gets a learned position embedding.
        position_std: standard deviation of the position embeddings at the start, 0 as published.
        round_kept: False: removed = floor(tokens (1 - R)), as published. True: kept =
            round(tokens R), which gives the cost of the paper's "token reduction" (Table 9).
    """

    layers: tuple[int, ...] | None = None
    groups: tuple[int, ...] | None = None
    keep_cross: float | None = None
    keep_intra: float | None = None
    clip_positions: bool = True
    position_std: float = 0.0
    round_kept: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.layers is not None:  # a list, as configs give it
            object.__setattr__(self, "layers", block_numbers(self.layers))
        if self.groups is not None:
            object.__setattr__(self, "groups", require_wholes("groups", self.groups, least=1))
        for name in ("keep_cross", "keep_intra"):
            share = getattr(self, name)
            if share is not None and not (isinstance(share, numbers.Real) and 0 < share <= 1):
                raise ValueError(f"{name}={share!r} must be in (0, 1]: the share that is kept")

    def resolve(self, *, patches: int, frames: int, depth: int) -> "Reducer":
        resolved = super().resolve(patches=patches, frames=frames, depth=depth)
        joins = MOST_JOINS if self.layers is None else len(self.layers)
        groups = even_groups(frames, joins) if self.groups is None else self.groups
        if self.groups is None and self.layers is None:
            groups = tuple(group for group in groups if group > 1)
        end = depth - BLOCKS_AFTER_LAST_JOIN
        layers = tuple(range(end - len(groups), end)) if self.layers is None else self.layers
        few = patches < FEW_PATCHES
        return dataclasses.replace(
            resolved,
            layers=layers,
            groups=groups,
            keep_cross=self.keep_cross or (0.7 if few else 0.6),
            keep_intra=self.keep_intra or (0.9 if few else 0.8),
        )

    def check(self, depth: int) -> None:
        if len(self.layers) != len(self.groups):
            raise ValueError(
                f"layers={self.layers} and groups={self.groups} must be of one length: "
                "a group of clips for every layer that joins them"
            )
        require_blocks(self.layers, depth)

    def stage(self, layer: int, before: Stage) -> Stage:
        if not self.layers or layer < self.layers[0]:
            return super().stage(layer, before)
        group, attention = 1, before.out
        if layer in self.layers:
            group = self.groups[self.layers.index(layer)]
            if before.clips % group:
                raise ValueError(
                    f"block {layer} joins clips in groups of {group}, which does not divide the "
                    f"{before.clips} clips there; change num_frames or groups={self.groups}"
                )
            attention = self._kept(before.out * group, before.n_cls * group, self.keep_cross)
        n_cls = before.n_cls * group
        mlp = self._kept(attention, n_cls, self.keep_intra)
        return Stage(clips=before.clips // group, n_cls=n_cls, attention=attention, mlp=mlp)

    def before_attention(self, layer: int, stage: Stage) -> Callable[[Tokens, Attend], Tokens]:
        if layer not in self.layers:
            return super().before_attention(layer, stage)
        if self.clip_positions:
            return JoinWithPositions(stage=stage, std=self.position_std, name="join_clips")
        return lambda tokens, attend: join_and_merge(tokens, tokens.x, stage)

    def _kept(self, tokens: int, n_cls: int, share: float) -> int:
        # Exact: in floating point 1 - 0.7 is more than 0.3, and 10 * 0.7 less than 7.
        share = Fraction(str(share))
        removed = tokens - round(tokens * share) if self.round_kept else int(tokens * (1 - share))
        return tokens - min(max_merged(tokens, n_cls), removed)


class JoinWithPositions(nn.Module):
    """Joins clips after adding to every token the learned position of its clip."""

    stage: Stage
    std: float

    @nn.compact
    def __call__(self, tokens: Tokens, attend: Attend) -> Tokens:
        """[b, t, n, d] -> [b, stage.clips, stage.attention, d]."""
        t, d = tokens.x.shape[1], tokens.x.shape[3]
        position = self.param("clip_position", nn.initializers.normal(self.std), (t, d))
        position = position[None, :, None, :].astype(tokens.x.dtype)
        return join_and_merge(tokens, tokens.x + position, self.stage)


def join_and_merge(tokens: Tokens, x: jax.Array, stage: Stage) -> Tokens:
    """Joins clips and merges across them: `tokens.x` is compared, `x` is what merges.

    The published code compares before it adds the positions (specification section 7, ii).
    """
    group = tokens.x.shape[1] // stage.clips
    metric = join_clips(tokens, group).x
    return merge_tokens(join_clips(tokens.replace(x=x), group), metric, stage.attention)


def even_groups(frames: int, joins: int) -> tuple[int, ...]:
    """The `joins` ascending factors of `frames` most alike: 12 -> 2, 2, 3; 64 -> 4, 4, 4."""
    divisors = [d for d in range(1, frames + 1) if frames % d == 0]
    choices = itertools.combinations_with_replacement(divisors, joins)
    return min((c for c in choices if math.prod(c) == frames), key=sum, default=())
