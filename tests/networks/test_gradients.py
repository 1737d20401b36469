"""What keeps less for the backward pass has the gradients of the plain formulas."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tempme_jax.networks.attention import weigh_counted, weigh_masked
from tempme_jax.networks.layers import make_layer_norm


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_layer_norm(dtype):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(2, 3, (2, 3, 8)), dtype)
    aim = jnp.asarray(rng.standard_normal((2, 3, 8)), jnp.float32)
    params = {
        "scale": jnp.asarray(rng.standard_normal(8), jnp.float32),
        "bias": jnp.asarray(rng.standard_normal(8), jnp.float32),
    }

    def measure(module):
        def loss(params, x):
            y = module.apply({"params": params}, x)
            assert y.dtype == dtype
            return (y.astype(jnp.float32) * aim).sum()

        return jax.value_and_grad(loss, (0, 1))(params, x)

    ours = measure(make_layer_norm("ln", jnp.dtype(dtype)))
    with jax.numpy_dtype_promotion("standard"):
        plain = measure(nn.LayerNorm(epsilon=1e-5, dtype=dtype, use_fast_variance=False))
    tolerance = 1e-5 if dtype == "float32" else 2e-2
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            np.asarray(a, np.float32), np.asarray(b, np.float32), tolerance, tolerance
        ),
        ours,
        plain,
    )
    assert ours[1][1].dtype == dtype


def test_weights_of_an_attention():
    rng = np.random.default_rng(0)
    shifted = jnp.asarray(rng.standard_normal((2, 1, 2, 3, 4)), jnp.float32)
    counts = jnp.asarray([[1, 3, 0, 2], [0, 1, 1, 1]], jnp.float32)[:, None, None, None]
    aim = jnp.asarray(rng.standard_normal(shifted.shape), jnp.float32)

    def measure(weigh):
        return jax.value_and_grad(lambda x: (weigh(x, counts, counts) * aim).sum())(shifted)

    for a, b in zip(measure(weigh_counted), measure(weigh_masked), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
