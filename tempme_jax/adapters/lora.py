"""LoRA: low-rank updates of the frozen input projection of every attention, in both towers.

"LoRA: Low-Rank Adaptation of Large Language Models" (Hu et al., ICLR 2022), as in TempMe's code:
queries, keys and values share one down-projection, and the product is not scaled. See
docs/methods/lora.md.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from tempme_jax.adapters.base import Adapter
from tempme_jax.adapters.initializers import draw_uniform_by_width
from tempme_jax.checks import require_whole
from tempme_jax.networks.layers import Linear


@dataclasses.dataclass(frozen=True)
class LoRA(Adapter):
    """Low-rank product x A B, added to linear layers.

    Attributes:
        rank: width between A and B.
        targets: names of the linear layers that are adapted: "qkv", "out", "fc", "proj".
    """

    rank: int = 8
    targets: tuple[str, ...] = ("qkv",)

    def __post_init__(self):
        object.__setattr__(self, "targets", tuple(self.targets))
        require_whole("rank", self.rank, least=1)
        if unknown := set(self.targets) - {"qkv", "out", "fc", "proj"}:
            raise ValueError(
                f"unknown LoRA targets {sorted(unknown)}; choose from qkv, out, fc, proj"
            )

    def linear(
        self, features: int, name: str, dtype: Any, role: str = "", *, key_bias: bool = True
    ) -> nn.Module:
        # The queries, keys and values of a cross-attention are two layers.
        if ("qkv" if name in ("q", "kv") else name) not in self.targets:
            return super().linear(features, name, dtype, key_bias=key_bias)
        return LoRADense(features, self.rank, role, key_bias, dtype=dtype, name=name)

    def fold(self, params: dict) -> tuple[Adapter, dict]:
        """Add A B to the frozen kernels, which gives a plain CLIP that computes the same.

        Nothing is folded if a kernel is used in two roles (TESTA): one array cannot hold both
        updates.
        """
        flat: dict[Any, Any] = dict(flax.traverse_util.flatten_dict(params))
        if any(path[-1].endswith("_lora_a") for path in flat):
            return self, params
        for path in [path for path in flat if path[-1] == "lora_a"]:
            layer = path[:-1]
            a, b = flat.pop(path), flat.pop((*layer, "lora_b"))
            delta = jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
            flat[*layer, "kernel"] = flat[*layer, "kernel"] + delta.T
        return Adapter(), flax.traverse_util.unflatten_dict(flat)


class LoRADense(nn.Module):
    """A frozen linear layer and its low-rank update, whose parameters share one name."""

    features: int
    rank: int
    role: str = ""
    key_bias: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., d] -> [..., features]."""
        frozen = Linear(self.features, dtype=self.dtype, key_bias=self.key_bias)
        nn.share_scope(self, frozen)
        a_name, b_name = (
            "_".join(filter(None, (self.role, name))) for name in ("lora_a", "lora_b")
        )
        a = self.param(a_name, draw_uniform_by_width, (x.shape[-1], self.rank))
        b = self.param(b_name, nn.initializers.zeros, (self.rank, self.features))
        x, a, b = promote_dtype(x, a, b, dtype=self.dtype)
        return frozen(x) + (x @ a) @ b
