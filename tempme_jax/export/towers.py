"""The two towers of a model as functions of arrays, with any number of rows."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from tempme_jax import encoding
from tempme_jax.model import Model

TOWERS = ("video", "text")


@dataclasses.dataclass(frozen=True)
class Tower:
    """A tower of a model.

    Attributes:
        name: "video" or "text".
        function: from parameters and the inputs to vectors, float32 [b, e].
        params: the variables of the network.
        inputs: the shapes and dtypes of the inputs by name; the first size is the batch.
    """

    name: str
    function: Callable[..., jax.Array]
    params: dict
    inputs: dict[str, jax.ShapeDtypeStruct]


def split_towers(model: Model) -> list[Tower]:
    """Return both towers of a model, in float32, with what was learned folded in.

    The video tower takes `frames`, uint8 [b, f, s, s, 3], and `frame_mask`, bool [b, f], True where
    a frame is real. The text tower takes `ids`, int32 [b, n], and `mask`, bool [b, n], True on the
    text.
    """
    model = dataclasses.replace(model, network=model.network.copy(dtype=None))
    network, params = model.folded
    (batch,) = export.symbolic_shape("batch")
    frames = (batch, model.num_frames, model.arch.image_size, model.arch.image_size, 3)
    words = (batch, model.max_words)
    encoders = {"video": encoding.encode_frames, "text": encoding.encode_tokens}
    inputs = {
        "video": {"frames": (frames, np.uint8), "frame_mask": (frames[:2], np.bool_)},
        "text": {"ids": (words, np.int32), "mask": (words, np.bool_)},
    }
    return [
        Tower(
            name,
            lambda params, *given, encode=encoders[name]: encode(network, params, *given),
            params,
            {key: jax.ShapeDtypeStruct(*spec) for key, spec in inputs[name].items()},
        )
        for name in TOWERS
    ]


@jax.jit
def layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: jax.Array) -> jax.Array:
    """Return a layer norm over the last axis; `convert.convert_call` knows it by its name."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = jnp.square(centred).mean(axis=-1, keepdims=True)
    scale, bias = (jnp.expand_dims(a, range(x.ndim - 1)) for a in (scale, bias))
    return centred * jax.lax.rsqrt(variance + epsilon) * scale + bias


def name_layer_norms(call: Any, inputs: Any, options: Any, context: Any) -> Any:
    """Run the layer norms of Flax as `layer_norm`; for `nn.intercept_methods`."""
    module = context.module
    if not isinstance(module, nn.LayerNorm) or context.method_name != "__call__":
        return call(*inputs, **options)
    params = module.variables["params"]
    return layer_norm(inputs[0], params["scale"], params["bias"], np.float32(module.epsilon))
