"""The weights that come with the package: small files, of models that know the built-in set."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempme_jax
from tempme_jax.datasets import shapes
from tempme_jax.training.flags import parse_flags
from tempme_jax.training.model import build_model
from tempme_jax.training.tasks import choose_task
from tempme_jax.weights.hub import BUILT_IN

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

# One of each colour and shape, on the same path.
MOTIONS = [one for one in shapes.list_motions() if (one.first, one.second) == ("right", "up")]
TEXTS = [one.caption for one in MOTIONS]


def draw(motion):
    look, noise = np.random.default_rng(1), np.random.default_rng(2)
    return shapes.draw(motion, look, noise)


@pytest.fixture(scope="module")
def videos():
    return np.stack([draw(motion) for motion in MOTIONS])


@pytest.fixture(scope="module")
def umt():
    return tempme_jax.load("tiny-umt", method="full+joined", num_frames=8, max_words=12)


@pytest.mark.parametrize("name", BUILT_IN)
def test_files_are_small(name):
    assert BUILT_IN[name].stat().st_size < 8e6


def test_the_tiny_umt_knows_colours_and_shapes(umt, videos):
    scores = umt.similarity(umt.embed_text(TEXTS), umt.embed_video(videos))
    assert np.mean(scores.argmax(axis=1) == np.arange(12)) > 0.8


def test_the_tiny_umt_judges(umt, videos):
    fits = np.stack([umt.judge(text, videos) for text in TEXTS])
    assert np.mean(fits.argmax(axis=1) == np.arange(12)) > 0.7
    assert (
        np.median(fits[np.eye(12, dtype=bool)]) > 0.5 > 0.1 > fits[~np.eye(12, dtype=bool)].mean()
    )


def test_the_tiny_umt_knows_the_order_of_one_sequence(umt):
    """Frames apart are the same for a video and its reverse, in both ends of the network."""
    motion = MOTIONS[0]
    there, texts = draw(motion), [motion.caption, motion.reverse.caption]
    both = np.stack([there, there[::-1]])[:, 1::3]
    scores = umt.similarity(umt.embed_text(texts), umt.embed_video(both))
    fits = np.stack([umt.judge(text, both) for text in texts])
    assert scores.argmax(axis=1).tolist() == fits.argmax(axis=1).tolist() == [0, 1]
    apart = tempme_jax.load("tiny-umt", method="full", num_frames=8, max_words=12)
    np.testing.assert_allclose(*apart.embed_video(both), atol=1e-5)
    np.testing.assert_allclose(*apart.judge(texts[0], both), atol=1e-4)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("umt_moving_shapes", "umt"),
        pytest.param("umt_moving_shapes_qa", "umt4clip+tempme", marks=pytest.mark.slow),
    ],
)
def test_training_goes_on_from_the_tiny_umt(file, words, videos):
    """Everything has a gradient, but for what a single layer norm or a softmax cancels."""
    config = parse_flags([f"--config=configs/{file}.py:{words}"])
    model = build_model(config.model, seed=0)
    objective = choose_task(model.network).objective.make(model.network, config.train, 0)
    ids, mask = model.tokenizer(TEXTS[:2])
    batch = {
        "frames": videos[:2, 1::3], "frame_mask": np.ones((2, 8), bool),
        "ids": ids, "text_mask": mask, "video": np.arange(2),
        "answer_ids": ids[:, None, :3], "answer_mask": mask[:, None, :3],
        "answer_weight": np.ones((2, 1), np.float32),
    }  # fmt: skip
    batch = jax.tree.map(jnp.asarray, batch)
    loss, gradients = jax.jit(objective.compute_gradients)(
        model.trainable, {}, batch, jax.random.key(0)
    )
    assert np.isfinite(loss)
    sizes = jax.tree.map(lambda array: float(jnp.abs(array).max()), gradients)
    assert all(np.isfinite(size) for size in jax.tree.leaves(sizes))
    assert np.mean(np.array(jax.tree.leaves(sizes)) > 0) > 0.9
