"""Prompt tuning: learned tokens that every block attends to, in both towers.

Deep, independent prompts as in VPT (Jia et al., ECCV 2022) and in the IVLP baseline of MaPLe
(Khattak et al., CVPR 2023). The published code puts prompts into the sequence and discards their
outputs after every block. Their only effect is therefore that other tokens attend to them. Here
they are keys and values only, which needs no query and no MLP. See docs/methods/prompt.md.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax

from tempme_jax.adapters.base import Adapter, Contexts
from tempme_jax.checks import require_whole
from tempme_jax.networks.tokens import Stage, Tokens


@dataclasses.dataclass(frozen=True)
class Prompt(Adapter):
    """Learned tokens of every block, to which its tokens attend.

    Attributes:
        count: number of prompts of a block.
        std: standard deviation of the prompts before training.
    """

    count: int = 5
    std: float = 0.02

    def __post_init__(self):
        require_whole("count", self.count, least=1)

    @property
    def text_positions(self) -> int:
        return self.count

    def contexts(self, tower: str, dtype: Any) -> Contexts:
        return Prompts(self.count, self.std, name="prompts")

    def count_context_tokens(self, tower: str, layer: int) -> int:
        return self.count


class Prompts(nn.Module):
    """The prompts of every block, the same for every clip."""

    count: int
    std: float

    @nn.compact
    def __call__(self, layer: int, stage: Stage, tokens: Tokens, shared: Any) -> jax.Array:
        """Return the prompts of block `layer`, [1, 1, count, d]."""
        shape = (self.count, tokens.x.shape[-1])
        prompts = self.param(f"block_{layer}", nn.initializers.normal(self.std), shape)
        return prompts[None, None].astype(tokens.x.dtype)
