"""Adapter: a narrow two-layer network at the MLP of every block, in both towers.

"Parameter-Efficient Transfer Learning for NLP" (Houlsby et al., ICML 2019). The width follows from
the 0.26 M parameters in the TempMe paper. `parallel` is the form of AdaptFormer (Chen et al.,
NeurIPS 2022). See docs/methods/adapter.md.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from tempme_jax.adapters.base import Adapter, Site
from tempme_jax.adapters.initializers import draw_uniform_by_width
from tempme_jax.checks import require_whole
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.tokens import Stage, Tokens


@dataclasses.dataclass(frozen=True)
class Bottleneck(Adapter):
    """Bottleneck up(f(down(y))), added to the output y of every MLP.

    Attributes:
        width: width between `down` and `up`.
        parallel: False: the bottleneck reads the output of the MLP, and f is GELU. True
            (AdaptFormer): it reads the residual stream before the MLP, f is ReLU, and the result
            is multiplied by 0.1.
    """

    width: int = 8
    parallel: bool = False

    def __post_init__(self):
        require_whole("width", self.width, least=1)

    def branch(self, name: str, site: Site) -> Callable[[jax.Array, Tokens, Any], jax.Array]:
        if name != "mlp":
            return super().branch(name, site)
        return BottleneckBranch(self.width, self.parallel, site.dtype, name="bottleneck")

    def count_block_macs(self, layer: int, stage: Stage, arch: Architecture) -> int:
        return stage.clips * stage.mlp * 2 * arch.width * self.width


class BottleneckBranch(nn.Module):
    """The output of a branch plus the bottleneck, which is zero before training."""

    width: int
    parallel: bool
    dtype: Any = None

    @nn.compact
    def __call__(self, output: jax.Array, tokens: Tokens, shared: Any) -> jax.Array:
        """[b, t, n, d] -> [b, t, n, d]."""
        x = tokens.x if self.parallel else output
        down = nn.Dense(
            self.width, dtype=self.dtype, kernel_init=draw_uniform_by_width, name="down"
        )
        zeros = nn.initializers.zeros
        up = nn.Dense(x.shape[-1], dtype=self.dtype, kernel_init=zeros, name="up")
        if self.parallel:
            return output + 0.1 * up(nn.relu(down(x)))
        return output + up(nn.gelu(down(x), approximate=False))
