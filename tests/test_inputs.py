"""Frames become pixels on the device as CLIP's own preprocessing makes them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from tempme_jax.building import create
from tempme_jax.inputs import MEAN, STD, convert_to_pixels
from tempme_jax.training.objectives.contrastive import ContrastiveObjective
from tempme_jax.training.sharding import make_mesh
from tempme_jax.training.split_embedder import encode_videos
from tempme_jax.vectors import normalize


@pytest.mark.parametrize("size", [16, 40])
def test_resized_as_by_pillow(size):
    """To a smaller and to a larger size; Pillow rounds, and cuts to 0..255, between its passes."""
    frames = np.random.default_rng(0).integers(64, 192, (1, 2, 24, 24, 3), np.uint8)
    resized = [
        np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.BICUBIC))
        for frame in frames[0]
    ]
    levels = (np.asarray(convert_to_pixels(jnp.asarray(frames), size)) * STD + MEAN) * 255
    assert np.abs(levels[0] - np.stack(resized)).max() < 2.5
    assert np.abs(levels[0] - np.stack(resized)).mean() < 0.3


def test_frames_of_the_size_are_only_normalised():
    frames = np.full((1, 1, 8, 8, 3), 255, np.uint8)
    pixels = convert_to_pixels(jnp.asarray(frames), 8)
    np.testing.assert_allclose(pixels[0, 0, 0, 0], (1 - MEAN) / STD, rtol=1e-6)


def test_training_and_evaluation_normalise_by_the_models_own_values():
    """Their vectors are those that `embed_video` gives, also with another mean and deviation."""
    sizes = {"image_size": 16, "patch": 8, "width": 16, "depth": 1, "heads": 1, "embed_dim": 8}
    texts = {"text_width": 8, "text_depth": 1, "text_heads": 1, "vocab_size": 600}
    plain = create(**sizes, **texts, method="clip", num_frames=2)
    other = dataclasses.replace(plain.arch, mean=(0.1, 0.2, 0.3), std=(0.9, 0.5, 0.25))
    model = dataclasses.replace(plain, network=plain.network.copy(arch=other))
    frames = np.random.default_rng(0).integers(0, 256, (1, 2, 16, 16, 3), np.uint8)
    expected = model.embed_video(frames)
    assert np.abs(expected - plain.embed_video(frames)).max() > 0.01
    ids, mask = model.tokenizer(["a cat"])
    batch = {"frames": frames, "frame_mask": np.ones((1, 2), bool), "ids": ids, "text_mask": mask}
    batch = jax.tree.map(jnp.asarray, batch)
    objective = ContrastiveObjective(model.network)
    trained, _ = objective.encode(model.params, batch, jax.random.key(0))
    np.testing.assert_allclose(normalize(trained), expected, atol=1e-5)
    batch = {"video": np.zeros(1, np.int32), **{k: batch[k] for k in ("frames", "frame_mask")}}
    _, evaluated = encode_videos(model.network, make_mesh(1, 1), model.params, batch)
    np.testing.assert_allclose(evaluated, expected, atol=1e-5)
