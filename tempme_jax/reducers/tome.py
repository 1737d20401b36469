"""ToMe: in every block the r most redundant tokens of each frame merge.

"Token Merging: Your ViT But Faster" (Bolya et al., ICLR 2023), as the baseline of TempMe uses
it: matching by keys between attention and MLP, and attention in proportion to token sizes.
"""

import dataclasses
from collections.abc import Callable

from tempme_jax.checks import require_whole
from tempme_jax.networks.tokens import Evidence, Stage, Tokens
from tempme_jax.reducers.base import Reducer, merge_tokens, require_mergeable, unchanged

# r = 2 for the 49 patches of B/32 and 10 for the 196 of B/16 (the paper, section 4.1): 5 %.
SHARE_OF_PATCHES = 0.05


@dataclasses.dataclass(frozen=True)
class ToMe(Reducer):
    """Merges tokens inside each frame.

    Attributes:
        r: tokens that merge away in every block. None: 5 % of the patches of a frame, the
            paper's 2 for B/32 and 10 for B/16.
    """

    r: int | None = None

    def __post_init__(self):
        if self.r is not None:
            require_whole("r", self.r, least=0)

    def proportional(self, layer: int) -> bool:
        return True

    def resolve(self, *, patches: int, frames: int, depth: int) -> "Reducer":
        if self.r is not None:
            return self
        return dataclasses.replace(self, r=round(SHARE_OF_PATCHES * patches))

    def stage(self, layer: int, before: Stage) -> Stage:
        require_mergeable(self.r, tokens=before.out, n_cls=before.n_cls, layer=layer)
        return unchanged(before, removed=self.r)

    def after_attention(self, layer: int, stage: Stage) -> Callable[[Tokens, Evidence], Tokens]:
        """Merges by the keys of the attention just done."""
        return lambda tokens, evidence: merge_tokens(tokens, evidence.keys, stage.mlp)
