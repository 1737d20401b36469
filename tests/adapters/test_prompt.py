"""Prompts as keys and values give the same as prompts in the sequence."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from random_weights import make_random_tree

from tempme_jax.adapters.base import Adapter
from tempme_jax.adapters.prompt import Prompt
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.block import Block
from tempme_jax.networks.clip import Clip
from tempme_jax.networks.tokens import Stage, Tokens
from tempme_jax.reducers.base import Reducer

TOY = Architecture(
    embed_dim=8, image_size=16, patch=8, width=16, depth=2, heads=2,
    text_width=12, text_depth=2, text_heads=2, vocab_size=30, context_length=16,
)  # fmt: skip
COUNT = 3


def make_random_model():
    network = Clip(TOY, Prompt(count=COUNT), Reducer())
    return network, make_random_tree(network, 2)


def apply_block(params, layer, x, heads, *, causal):
    """A plain block on [b, t, n, d]: it knows nothing of prompts."""
    n = x.shape[2]
    block = Block("video", layer, heads, TOY.activation, Adapter(), causal=causal)
    tokens = Tokens(x, jnp.ones(x.shape[:3]), n_cls=0)
    stage = Stage(clips=x.shape[1], n_cls=0, attention=n, mlp=n)
    return block.apply({"params": params[f"block_{layer}"]}, tokens, stage).x


def apply_norm(params, name, x):
    layer = nn.LayerNorm(epsilon=1e-5, use_fast_variance=False)
    return layer.apply({"params": params[name]}, x)


def get_rows(params, layer, x):
    """The prompts of a block, for every clip of x."""
    prompts = params["prompts"][f"block_{layer}"]
    return jnp.broadcast_to(prompts, (*x.shape[:2], *prompts.shape))


def test_of_frames():
    """Behind the patches, through the first layer norm; then replaced before every block."""
    network, params = make_random_model()
    pixels = jnp.asarray(np.random.default_rng(1).standard_normal((2, 2, 16, 16, 3)), jnp.float32)
    ours, _ = network.apply({"params": params}, pixels, method="encode_video")
    video = params["video"]
    patches = pixels.reshape(2, 2, 2, 8, 2, 8, 3).swapaxes(3, 4).reshape(2, 2, 4, 192)
    patches = patches @ video["patches"]["kernel"].T
    cls = jnp.broadcast_to(video["class_embedding"], (2, 2, 1, TOY.width))
    x = jnp.concatenate([cls, patches], axis=2) + video["position_embedding"][None, None]
    n = x.shape[2]
    for layer in range(TOY.depth):
        x = jnp.concatenate([x[:, :, :n], get_rows(video, layer, x)], axis=2)
        x = apply_norm(video, "ln_pre", x) if layer == 0 else x
        x = apply_block(video, layer, x, TOY.heads, causal=False)
    frames = apply_norm(video, "ln_post", x[:, :, 0]) @ video["projection"]
    frames = frames / jnp.linalg.norm(frames, axis=-1, keepdims=True)
    np.testing.assert_allclose(ours, frames.mean(axis=1), atol=1e-5)


def test_of_texts():
    """Behind the first word, which moves the others' positions; then replaced likewise."""
    network, params = make_random_model()
    ids = jnp.array([[28, 5, 6, 29, 0], [28, 7, 29, 0, 0]], jnp.int32)
    ours = network.apply({"params": params}, ids, ids > 0, method="encode_text")
    text = params["text"]
    x = text["token_embedding"][ids][:, None]
    for layer in range(TOY.text_depth):
        words = x if layer == 0 else jnp.concatenate([x[:, :, :1], x[:, :, 1 + COUNT :]], axis=2)
        x = jnp.concatenate([words[:, :, :1], get_rows(text, layer, x), words[:, :, 1:]], axis=2)
        if layer == 0:
            x = x + text["position_embedding"][: x.shape[2]][None, None]
        x = apply_block(text, layer, x, TOY.text_heads, causal=True)
    end = x[jnp.arange(2), 0, ids.argmax(axis=1) + COUNT]
    expected = apply_norm(text, "ln_final", end) @ text["projection"]
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_every_block_has_its_own():
    _, params = make_random_model()
    assert params["video"]["prompts"]["block_1"].shape == (COUNT, 16)
    assert params["text"]["prompts"]["block_1"].shape == (COUNT, 12)
