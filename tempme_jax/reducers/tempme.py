"""TempMe: tokens merge inside each frame, then across neighbouring frames.

"TempMe: Video Temporal Token Merging for Efficient Text-Video Retrieval" (Shen et al., ICLR
2025). The early blocks are ToMe's (ImgMe). In a few late blocks (ClipMe) neighbouring clips become
one clip: their tokens merge across clips, attend to each other, and merge again. The first merging
compares the tokens themselves, the second one their keys. See docs/methods/tempme.md.
"""

import dataclasses
import itertools
import math
import numbers
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from tempme_jax.checks import require_wholes
from tempme_jax.networks.tokens import Stage, Tokens, join_clips
from tempme_jax.reducers.base import (
    Attend,
    Reducer,
    merge_tokens,
    require_block_numbers,
    require_within_depth,
)
from tempme_jax.reducers.merging import limit_merges
from tempme_jax.reducers.tome import (
    PAPER_DEPTH,
    SHARE_OF_PATCHES,
    ToMe,
    count_merges,
    place_blocks,
)

MOST_JOINS = 3
FEW_PATCHES = 100
# Smaller shares act like this one: only half of the tokens can merge at once.
LEAST_KEPT = 0.5


class Defaults(NamedTuple):
    """What the options are for a kind of backbone.

    Attributes:
        share: share of the patches of a frame that merge away in a block, which gives r.
        after: number of blocks after the last that joins clips, of up to 12 blocks.
        keep_cross, keep_intra: the shares R_C and R_I.
    """

    share: float
    after: int
    keep_cross: float
    keep_intra: float


# The paper, section 4.1: the 9th to 11th of 12 blocks join clips; of B/32 with 49 patches and of
# B/16 with 196. Deeper towers spread them, see `tome.PAPER_DEPTH`.
FEW = Defaults(SHARE_OF_PATCHES, 1, 0.7, 0.9)
MANY = Defaults(SHARE_OF_PATCHES, 1, 0.6, 0.8)
# UMT, which has no class token. The paper does not give them; these give its cost (Table 6), see
# docs/methods/umt.md.
NO_CLASS_TOKEN = Defaults(11 / 196, 2, 0.6, 0.9)


def choose_defaults(patches: int, n_cls: int) -> Defaults:
    """Return the defaults for frames of `patches` patches and `n_cls` class tokens."""
    if not n_cls:
        return NO_CLASS_TOKEN
    return FEW if patches < FEW_PATCHES else MANY


def choose_keep_intra(share: float, depth: int) -> float:
    """Return the share R_I for a tower of `depth` blocks, from that for 12.

    In a deeper tower more blocks merge by it, so each keeps more.

    >>> choose_keep_intra(0.8, 12), choose_keep_intra(0.8, 24)
    (0.8, 0.89)
    """
    return round(share ** min(1, PAPER_DEPTH / depth), 2)


@dataclasses.dataclass(frozen=True)
class TempMe(ToMe):
    """Merging of tokens inside frames, then across clips.

    Options that are None get the paper's values for the backbone and the number of frames.

    Attributes:
        r: number of tokens of a frame that merge away in every block before the first of `layers`;
            2 for B/32, 10 for B/16.
        layers: blocks that join clips, from 0, ascending; 8, 9, 10 of 12 blocks, 7, 8, 9 of UMT;
            16, 18, 20 of 24.
        groups: number of clips that become one at each of `layers`: 2, 2, 3 for 12 frames; 2, 2,
            2 for 8; 4, 4, 4 for 64. A group of 1 joins nothing but still merges.
        keep_cross: R_C, the share of tokens that the merging across clips keeps, in (0, 1].
        keep_intra: R_I, the share that the merging inside the clip keeps, in (0, 1]. At most half
            of the tokens can merge at once, so smaller shares act like one half.
        clip_positions: True to add a learned position embedding to each incoming clip.
        position_std: standard deviation of these embeddings before training, 0 as published.
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
            object.__setattr__(self, "layers", require_block_numbers(self.layers))
        if self.groups is not None:
            object.__setattr__(self, "groups", require_wholes("groups", self.groups, least=1))
        for name in ("keep_cross", "keep_intra"):
            share = getattr(self, name)
            if share is not None and not (
                isinstance(share, numbers.Real) and 0 < float(share) <= 1
            ):
                raise ValueError(f"{name}={share!r} must be in (0, 1]: the share that is kept")

    def resolve(self, *, patches: int, frames: int, depth: int, n_cls: int = 1) -> "Reducer":
        default = choose_defaults(patches, n_cls)
        joins = MOST_JOINS if self.layers is None else len(self.layers)
        groups = choose_groups(frames, joins) if self.groups is None else self.groups
        if self.groups is None and self.layers is None:
            groups = tuple(group for group in groups if group > 1)
        end = min(depth, PAPER_DEPTH) - default.after
        if self.layers is None and end < len(groups):
            raise ValueError(
                f"a video tower of {depth} blocks is too shallow to join clips in {len(groups)} of "
                f"them with {default.after} more behind; give the options layers, of 0.."
                f"{depth - 1}, and as many groups, or take another method"
            )
        layers = self.layers
        if layers is None:
            layers = place_blocks(range(end - len(groups), end), depth)
        return dataclasses.replace(
            self,
            r=count_merges(default.share, patches, depth) if self.r is None else self.r,
            layers=layers,
            groups=groups,
            keep_cross=self.keep_cross or default.keep_cross,
            keep_intra=self.keep_intra or choose_keep_intra(default.keep_intra, depth),
        )

    def check(self, depth: int) -> None:
        assert self.layers is not None and self.groups is not None  # set by `resolve`
        if len(self.layers) != len(self.groups):
            raise ValueError(
                f"layers={self.layers} and groups={self.groups} must be of one length: "
                "a group of clips for every layer that joins them"
            )
        require_within_depth(self.layers, depth)

    def stage(self, layer: int, before: Stage) -> Stage:
        if not self.layers or layer < self.layers[0]:
            return super().stage(layer, before)
        group, attention = 1, before.out
        if layer in self.layers:
            assert self.groups is not None  # set by `resolve`
            group = self.groups[self.layers.index(layer)]
            if before.clips % group:
                raise ValueError(
                    f"block {layer} joins clips in groups of {group}, which does not divide the "
                    f"{before.clips} clips there; change num_frames or groups={self.groups}"
                )
            attention = self._count_kept(before.out * group, before.n_cls * group, self.keep_cross)
        n_cls = before.n_cls * group
        mlp = self._count_kept(attention, n_cls, self.keep_intra)
        return Stage(clips=before.clips // group, n_cls=n_cls, attention=attention, mlp=mlp)

    def before_attention(self, layer: int, stage: Stage) -> Callable[[Tokens, Attend], Tokens]:
        assert self.layers is not None  # set by `resolve`
        if layer not in self.layers:
            return super().before_attention(layer, stage)
        if self.clip_positions:
            return JoinWithPositions(stage=stage, std=self.position_std, name="join_clips")
        return lambda tokens, attend: join_and_merge(tokens, tokens.x, stage)

    def scale(self, strength: float) -> dict[str, Any]:
        assert self.keep_cross is not None and self.keep_intra is not None  # set by `resolve`
        shares = {"keep_cross": self.keep_cross, "keep_intra": self.keep_intra}
        kept = {
            name: round(max(LEAST_KEPT, 1 - strength * (1 - share)), 3) if strength != 1 else share
            for name, share in shares.items()
        }
        return super().scale(strength) | kept

    def _count_kept(self, tokens: int, n_cls: int, share: float | None) -> int:
        # Exact fractions: in floating point 1 - 0.7 is more than 0.3, and 10 * 0.7 less than 7.
        kept = Fraction(str(share))
        removed = tokens - round(tokens * kept) if self.round_kept else int(tokens * (1 - kept))
        return tokens - min(limit_merges(tokens, n_cls), removed)


class JoinWithPositions(nn.Module):
    """Add to every token the learned position of its clip, then join and merge."""

    stage: Stage
    std: float

    @nn.compact
    def __call__(self, tokens: Tokens, attend: Attend) -> Tokens:
        """Map [b, t, n, d] to [b, stage.clips, stage.attention, d]."""
        t, d = tokens.x.shape[1], tokens.x.shape[3]
        position = self.param("clip_position", nn.initializers.normal(self.std), (t, d))
        position = position[None, :, None, :].astype(tokens.x.dtype)
        return join_and_merge(tokens, tokens.x + position, self.stage)


def join_and_merge(tokens: Tokens, x: jax.Array, stage: Stage) -> Tokens:
    """Join clips and merge across them: compare `tokens.x`, merge `x`.

    The two differ because the published code compares tokens before it adds their positions.
    """
    group = tokens.x.shape[1] // stage.clips
    metric = join_clips(tokens, group).x
    return merge_tokens(join_clips(tokens.replace(x=x), group), metric, stage.attention)


def choose_groups(frames: int, joins: int) -> tuple[int, ...]:
    """Return the `joins` most equal factors of `frames`: 12 -> 2, 2, 3; 64 -> 4, 4, 4."""
    divisors = [d for d in range(1, frames + 1) if frames % d == 0]
    choices = itertools.combinations_with_replacement(divisors, joins)
    return min((c for c in choices if math.prod(c) == frames), key=sum, default=())
