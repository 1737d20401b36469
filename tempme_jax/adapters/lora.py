"""LoRA: low-rank changes to the frozen input projections of every attention.

"LoRA: Low-Rank Adaptation of Large Language Models" (Hu et al., ICLR 2022), in the form of
TempMe: one down-projection is shared by queries, keys and values, in both towers, and nothing
scales the product (specification section 2).
"""

import dataclasses
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp

from tempme_jax.adapters.base import Adapter
from tempme_jax.checks import require_whole
from tempme_jax.networks.layers import Linear


@dataclasses.dataclass(frozen=True)
class LoRA(Adapter):
    """Adds x A B to linear layers.

    Attributes:
        rank: the inner width of A B.
        targets: the linear layers that are adapted, of "qkv", "out", "fc", "proj".
    """

    rank: int = 8
    targets: tuple[str, ...] = ("qkv",)

    def __post_init__(self):
        object.__setattr__(self, "targets", tuple(self.targets))
        require_whole("rank", self.rank, least=1)
        if unknown := set(self.targets) - {"qkv", "out", "fc", "proj"}:
            raise ValueError(f"LoRA targets {sorted(unknown)} are none of qkv, out, fc, proj")

    def linear(self, features: int, name: str, dtype: Any, role: str = "") -> nn.Module:
        if name not in self.targets:
            return super().linear(features, name, dtype)
        return LoRADense(features, self.rank, role, dtype=dtype, name=name)

    def fold(self, params: dict) -> tuple[Adapter, dict]:
        """Adds A B to the frozen kernels: plain CLIP of the same function.

        A kernel that is used in two roles stays: no one array has both changes.
        """
        flat = flax.traverse_util.flatten_dict(params)
        if any(path[-1].endswith("_lora_a") for path in flat):
            return self, params
        for path in [path for path in flat if path[-1] == "lora_a"]:
            layer = path[:-1]
            a, b = flat.pop(path), flat.pop((*layer, "lora_b"))
            delta = jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
            flat[*layer, "kernel"] = flat[*layer, "kernel"] + delta.T
        return Adapter(), flax.traverse_util.unflatten_dict(flat)


class LoRADense(nn.Module):
    """A frozen linear layer with its low-rank change, beside it under the same name."""

    features: int
    rank: int
    role: str = ""
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., d] -> [..., features]."""
        frozen = Linear(self.features, dtype=self.dtype)
        nn.share_scope(self, frozen)
        a_name, b_name = (
            "_".join(filter(None, (self.role, name))) for name in ("lora_a", "lora_b")
        )
        a = self.param(a_name, uniform_by_width, (x.shape[-1], self.rank))
        b = self.param(b_name, nn.initializers.zeros, (self.rank, self.features))
        x, a, b = nn.dtypes.promote_dtype(x, a, b, dtype=self.dtype)
        return frozen(x) + (x @ a) @ b


def uniform_by_width(key: jax.Array, shape: tuple[int, int], dtype: Any = jnp.float32) -> jax.Array:
    """U(-1/sqrt(d), 1/sqrt(d)) for [d, ...]: kaiming_uniform(a=sqrt(5)), as published."""
    bound = shape[0] ** -0.5
    return jax.random.uniform(key, shape, dtype, minval=-bound, maxval=bound)
