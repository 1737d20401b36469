"""ToMe: the r most redundant tokens of each frame merge in every block.

"Token Merging: Your ViT But Faster" (Bolya et al., ICLR 2023), as TempMe's baseline uses it:
tokens are matched by their keys between attention and MLP, and attention counts a token by its
size. See docs/methods/tome.md.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from tempme_jax.checks import require_whole, require_wholes
from tempme_jax.networks.tokens import Evidence, Stage, Tokens
from tempme_jax.reducers.base import Reducer, make_stage, merge_tokens, require_mergeable

# r = 2 for the 49 patches of B/32 and 10 for the 196 of B/16 (TempMe paper, section 4.1): 5 %.
SHARE_OF_PATCHES = 0.05
# The depth of B/32 and B/16. For deeper towers no paper gives settings, so ours spread those of 12
# blocks: the tokens thin out over the depth as they do there, and the same share of the arithmetic
# is saved.
PAPER_DEPTH = 12


def count_merges(share: float, patches: int, depth: int) -> int:
    """Return how many tokens of a frame merge away in a block of a tower of `depth` blocks.

    They are a share of the patches in up to 12 blocks, and as many tokens in all in more.

    >>> count_merges(0.05, 256, 12), count_merges(0.05, 256, 24)
    (13, 6)
    """
    return round(share * patches * min(1, PAPER_DEPTH / depth))


def place_blocks(numbers: Iterable[int], depth: int) -> tuple[int, ...]:
    """Return where in a deeper tower blocks of the paper's 12 lie; up to 12 blocks stay.

    >>> place_blocks([8, 9, 10], 12), place_blocks([8, 9, 10], 32)
    ((8, 9, 10), (21, 24, 26))
    """
    return tuple(number * max(depth, PAPER_DEPTH) // PAPER_DEPTH for number in numbers)


@dataclasses.dataclass(frozen=True)
class ToMe(Reducer):
    """Merging of tokens inside each frame.

    Attributes:
        r: number of tokens that merge away in every block; or a list, of each block, and none
            in the blocks after its end. None: 5 % of the patches of a frame, the TempMe paper's 2
            for B/32 and 10 for B/16.
    """

    r: int | tuple[int, ...] | None = None

    def __post_init__(self):
        if isinstance(self.r, list | tuple):  # a list, as configs give it
            object.__setattr__(self, "r", require_wholes("r", self.r, least=0))
        elif self.r is not None:
            require_whole("r", self.r, least=0)

    def is_proportional(self, layer: int) -> bool:
        return True

    def resolve(self, *, patches: int, frames: int, depth: int, n_cls: int = 1) -> "Reducer":
        if self.r is not None:
            return self
        return dataclasses.replace(self, r=count_merges(SHARE_OF_PATCHES, patches, depth))

    def stage(self, layer: int, before: Stage) -> Stage:
        r = self.r
        assert r is not None  # set by `resolve`
        if isinstance(r, tuple):
            r = r[layer] if layer < len(r) else 0
        require_mergeable(r, tokens=before.out, n_cls=before.n_cls, layer=layer)
        return make_stage(before, removed=r)

    def scale(self, strength: float) -> dict[str, Any]:
        assert self.r is not None  # set by `resolve`
        if isinstance(self.r, tuple):
            return {"r": tuple(int(count * strength + 0.5) for count in self.r)}
        return {"r": int(self.r * strength + 0.5)}

    def after_attention(self, layer: int, stage: Stage) -> Callable[[Tokens, Evidence], Tokens]:
        """Merge by the keys of the block's attention."""
        return lambda tokens, evidence: merge_tokens(tokens, evidence.keys, stage.mlp)
