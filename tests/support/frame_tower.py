"""A toy video tower with a reducer of single frames, and what must hold of every such reducer."""

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from random_weights import make_random_tree

from tempme_jax.adapters.lora import LoRA
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.clip import Clip
from tempme_jax.networks.tokens import Evidence, Stage, make_tokens
from tempme_jax.parameters import join, split

TOY = Architecture(
    embed_dim=8, image_size=32, patch=8, width=16, depth=4, heads=2,
    text_width=12, text_depth=1, text_heads=2, vocab_size=30, context_length=16,
)  # fmt: skip
FRAMES = 4


def reduce_one_site(reducer, x, size, score):
    """Apply block 0 of a reducer to frames [t, n, d] of one video, with a score [t, n]."""
    tokens = make_tokens(jnp.float32(x[None]), None, trace=True)
    tokens = tokens.replace(size=jnp.float32(size[None]))
    before = Stage(clips=x.shape[0], n_cls=1, attention=x.shape[1], mlp=x.shape[1])
    stage = reducer.stage(0, before)
    evidence = Evidence(keys=tokens.x, class_attention=jnp.float32(score[None]))
    reduced = reducer.after_attention(0, stage)(tokens, evidence)
    assert reduced.x.shape[2] == stage.mlp == stage.out
    return reduced


def make_encoder(reducer):
    """Return a compiled encoder of a toy tower, and pixels of two videos whose frames come twice.

    The encoder maps pixels and mask to the gradients of what trains, and (vectors, last tokens).
    """
    network = Clip(TOY, LoRA(rank=2), reducer)
    trainable, frozen = split(network, make_random_tree(network, FRAMES))
    rng = np.random.default_rng(1)
    pixels = rng.standard_normal((2, FRAMES, 32, 32, 3), dtype=np.float32)
    pixels[:, 2:] = pixels[:, :2]

    @jax.jit
    def encode(pixels, mask):
        def loss(trainable):
            params = {"params": join(trainable, frozen)}
            video, tokens = network.apply(params, pixels, mask, trace=True, method="encode_video")
            return (video**2 * np.arange(8.0, dtype=np.float32)[None]).sum(), (video, tokens)

        return jax.grad(loss, has_aux=True)(trainable)

    return encode, pixels


def check_masked_frames(encode, pixels):
    """Check that masked frames, which hold garbage, change no vector and no gradient.

    Gradients are finite and reach every trained array.
    """
    real = np.array([[True, True, False, False]] * 2)
    spoiled = pixels.copy()
    spoiled[:, 2:] = 1e3
    _, (whole, _) = encode(pixels, np.ones((2, FRAMES), bool))
    gradients, (masked, tokens) = encode(spoiled, real)
    np.testing.assert_allclose(masked, whole, atol=1e-6)
    np.testing.assert_array_equal(tokens.size[:, 2:], 0)
    assert np.isfinite(tokens.x).all()
    again = flax.traverse_util.flatten_dict(encode(pixels, real)[0])
    for path, gradient in flax.traverse_util.flatten_dict(gradients).items():
        assert np.isfinite(gradient).all()
        np.testing.assert_array_equal(gradient, again[path])
        assert path[0] == "text" or np.abs(gradient).max() > 0, path
