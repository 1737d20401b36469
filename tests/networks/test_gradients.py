"""What keeps less for the backward pass has the gradients of the plain formulas."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.ad_checkpoint import print_saved_residuals

from tempme_jax.adapters.lora import LoRA
from tempme_jax.networks.attention import weigh_counted, weigh_masked
from tempme_jax.networks.block import Block, choose_block_type
from tempme_jax.networks.layers import make_layer_norm
from tempme_jax.networks.tokens import Stage, Tokens
from tempme_jax.reducers.tome import ToMe


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


def test_a_block_keeps_little_and_has_the_gradients_of_one_that_keeps_all(capsys):
    b, t, n, d, heads, r = 2, 3, 9, 8, 2, 2
    x = jax.random.normal(jax.random.key(0), (b, t, n, d))
    size = jnp.asarray(np.random.default_rng(0).integers(1, 4, (b, t, n)), jnp.float32)
    stage = Stage(clips=t, n_cls=1, attention=n, mlp=n - r)
    given = ("video", 0, heads, "quick_gelu", LoRA(rank=2), ToMe(r=r))
    params = Block(*given).init(jax.random.key(1), Tokens(x, size), stage)["params"]
    keys = iter(jax.random.split(jax.random.key(2), 99))
    params = jax.tree.map(lambda a: a + 0.1 * jax.random.normal(next(keys), a.shape), params)
    low_rank = {name: params["attn"]["qkv"].pop(name) for name in ("lora_a", "lora_b")}

    def make_loss(block):
        def loss(low_rank, x):
            attn = {**params["attn"], "qkv": {**params["attn"]["qkv"], **low_rank}}
            tokens = block.apply({"params": {**params, "attn": attn}}, Tokens(x, size), stage)
            return (tokens.x**2).sum()

        return loss

    plain, kept, again = (
        make_loss(kind(*given))
        for kind in (Block, choose_block_type(remat=False), choose_block_type(remat=True))
    )
    expected, *others = (
        jax.jit(jax.value_and_grad(loss, (0, 1)))(low_rank, x) for loss in (plain, kept, again)
    )
    for ours in others:
        jax.tree.map(lambda a, e: np.testing.assert_allclose(a, e, 1e-5, 1e-5), ours, expected)

    def find_kept(loss):
        print_saved_residuals(loss, low_rank, x)
        lines = capsys.readouterr().out.splitlines()
        return sorted(line.split()[0] for line in lines if "'kept'" in line)

    m = n - r
    streams = [f"f32[{b},{t},{n},{d}]", f"f32[{b},{t},{m},{d}]"]
    heads_of = 3 * [f"f32[{b},{t},{heads},{n},{d // heads}]"]
    assert find_kept(kept) == sorted(
        [*streams, *heads_of, f"f32[{b},{t},{m},{4 * d}]", f"i32[{b * t},{n}]"]
    )
    assert find_kept(again) == []
