"""Adapter: a narrow two-layer network beside the MLP of every block, in both towers.

"Parameter-Efficient Transfer Learning for NLP" (Houlsby et al., ICML 2019), with the size that
the paper's 0.26 M parameters imply; `parallel` is the form of AdaptFormer (Chen et al., NeurIPS
2022). Specification section 4.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from tempme_jax.adapters.base import Adapter, Site
from tempme_jax.adapters.lora import uniform_by_width
from tempme_jax.checks import require_whole
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.tokens import Stage, Tokens


@dataclasses.dataclass(frozen=True)
class Bottleneck(Adapter):
    """Adds up(f(down(y))) to the output y of every MLP.

    Attributes:
        width: the inner width.
        parallel: False: it reads the output of the MLP; f is GELU. True (AdaptFormer): it reads
            the residual stream before the MLP; f is ReLU and the result counts a tenth.
    """

    width: int = 8
    parallel: bool = False

    def __post_init__(self):
        require_whole("width", self.width, least=1)

    def branch(self, name: str, site: Site) -> Callable[[jax.Array, Tokens, Any], jax.Array]:
        if name != "mlp":
            return super().branch(name, site)
        return WithBottleneck(self.width, self.parallel, site.dtype, name="bottleneck")

    def block_macs(self, layer: int, stage: Stage, arch: Architecture) -> int:
        return stage.clips * stage.mlp * 2 * arch.width * self.width


class WithBottleneck(nn.Module):
    """The output of a branch, and beside it down, activation, up; zero at the start."""

    width: int
    parallel: bool
    dtype: Any = None

    @nn.compact
    def __call__(self, output: jax.Array, tokens: Tokens, shared: Any) -> jax.Array:
        """[b, t, n, d] -> [b, t, n, d]."""
        x = tokens.x if self.parallel else output
        down = nn.Dense(self.width, dtype=self.dtype, kernel_init=uniform_by_width, name="down")
        zeros = nn.initializers.zeros
        up = nn.Dense(x.shape[-1], dtype=self.dtype, kernel_init=zeros, name="up")
        if self.parallel:
            return output + 0.1 * up(nn.relu(down(x)))
        return output + up(nn.gelu(down(x), approximate=False))
