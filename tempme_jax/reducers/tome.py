"""ToMe: the r most redundant tokens of each frame merge in every block.

"Token Merging: Your ViT But Faster" (Bolya et al., ICLR 2023), as TempMe's baseline uses it:
tokens are matched by their keys between attention and MLP, and attention counts a token by its
size. See docs/methods/tome.md.
"""

import dataclasses
from collections.abc import Callable

from tempme_jax.checks import require_whole
from tempme_jax.networks.tokens import Evidence, Stage, Tokens
from tempme_jax.reducers.base import Reducer, make_stage, merge_tokens, require_mergeable

# r = 2 for the 49 patches of B/32 and 10 for the 196 of B/16 (TempMe paper, section 4.1): 5 %.
SHARE_OF_PATCHES = 0.05


@dataclasses.dataclass(frozen=True)
class ToMe(Reducer):
    """Merging of tokens inside each frame.

    Attributes:
        r: number of tokens that merge away in every block. None: 5 % of the patches of a frame,
            the TempMe paper's 2 for B/32 and 10 for B/16.
    """

    r: int | None = None

    def __post_init__(self):
        if self.r is not None:
            require_whole("r", self.r, least=0)

    def is_proportional(self, layer: int) -> bool:
        return True

    def resolve(self, *, patches: int, frames: int, depth: int, n_cls: int = 1) -> "Reducer":
        if self.r is not None:
            return self
        return dataclasses.replace(self, r=round(SHARE_OF_PATCHES * patches))

    def stage(self, layer: int, before: Stage) -> Stage:
        assert self.r is not None  # set by `resolve`
        require_mergeable(self.r, tokens=before.out, n_cls=before.n_cls, layer=layer)
        return make_stage(before, removed=self.r)

    def after_attention(self, layer: int, stage: Stage) -> Callable[[Tokens, Evidence], Tokens]:
        """Merge by the keys of the block's attention."""
        return lambda tokens, evidence: merge_tokens(tokens, evidence.keys, stage.mlp)
