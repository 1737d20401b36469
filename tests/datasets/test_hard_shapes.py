"""The hard set: scenes with a hard negative of each kind, and what their frames tell."""

import collections

import numpy as np
import pytest

from tempme_jax.datasets import hard_shapes, moving_shapes
from tempme_jax.datasets.base import Storage
from tempme_jax.datasets.hard_shapes import KINDS, Figure, Scene, draw, list_scenes
from tempme_jax.datasets.moving_shapes import MovingShapes
from tempme_jax.text.tokenizers import make_tokenizer
from tempme_jax.training.batches import sample_frames

SCENE = Scene(Figure("red", "circle"), ("left", "up"), Figure("green", "square"), "right")
CAPTIONS = {
    "order": "a green square moves right then a red circle left then up",
    "object": "a green square moves left then up then a red circle right",
    "colour": "a green circle moves left then up then a red square right",
    "direction": "a red circle moves left then up then a green square left",
}
SAMPLED = sample_frames("uniform", hard_shapes.FRAMES, 16, np.random.default_rng(0))


def draw_sampled(scene):
    """Draw the frames of a scene that a model of 16 frames sees."""
    return draw(scene, np.random.default_rng(3), np.random.default_rng(4))[SAMPLED]


@pytest.fixture(scope="module")
def frames():
    """The frames of a scene and of its negatives, without noise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hard_shapes, "NOISE", 0.0)
        drawn = {kind: draw_sampled(SCENE.negate(kind)) for kind in KINDS}
        return drawn | {"": draw_sampled(SCENE)}


def test_all_scenes():
    scenes = list_scenes()
    captions = [scene.caption for scene in scenes]
    assert len(set(scenes)) == len(set(captions)) == len(scenes) == 384
    assert {kind: SCENE.negate(kind).caption for kind in KINDS} == CAPTIONS
    for name, size in (("leader", 4), ("look", 16)):
        assert set(collections.Counter(getattr(one, name) for one in scenes).values()) == {size}
    for scene in scenes:
        negatives = [scene.negate(kind) for kind in KINDS]
        assert len({scene, *negatives}) == 5
        assert {one.look for one in negatives} == {scene.look}
        shared = [one.leader == scene.leader for one in negatives]
        assert shared == [True, False, False, True]  # those with the same frames
        assert [one.negate(kind) for kind, one in zip(KINDS, negatives, strict=True)] == [scene] * 4
    # Every two colours, and every two shapes, are together equally often.
    looks = collections.Counter((one.turning, one.crossing) for one in scenes)
    assert set(looks.values()) == {16}


def test_captions_fit_the_model():
    """The tiny CLIP's vocabulary, and the 16 words of `configs/moving_shapes.py`."""
    ids, mask = make_tokenizer("clip", 32, 77, 8192)([scene.caption for scene in list_scenes()])
    assert mask.sum(axis=1).max() <= 16
    assert len(np.unique(ids, axis=0)) == 384


def test_frames_do_not_tell_order_and_direction(frames):
    """The other one first, or the crossing backwards: the same frames in another order."""
    path, crossing = np.split(frames[""], 2)
    np.testing.assert_array_equal(frames["order"], np.concatenate([crossing, path]))
    np.testing.assert_array_equal(frames["direction"], np.concatenate([path, crossing[::-1]]))


@pytest.mark.parametrize("kind", ["object", "colour"])
def test_frames_tell_object_and_colour(frames, kind):
    """All but the shapes stays as it is: their places, the background, and what distracts."""
    differs = np.abs(frames[""].astype(int) - frames[kind]).max(axis=-1) > 0
    assert differs.any(axis=(1, 2)).all()
    assert differs.mean() < 0.15
    corner = frames[kind][0, 0, 0]
    np.testing.assert_array_equal(corner, frames[""][0, 0, 0])


def test_drawing_follows_from_its_seeds():
    drawn = draw(SCENE, np.random.default_rng(3), np.random.default_rng(4))
    assert (drawn.shape, drawn.dtype) == ((48, 64, 64, 3), np.uint8)
    np.testing.assert_array_equal(drawn[SAMPLED], draw_sampled(SCENE))
    assert SAMPLED.tolist() == list(range(1, 48, 3))


def test_the_variant(tmp_path, monkeypatch):
    """Its videos lie in a folder of their own, and each has a negative of every kind."""
    monkeypatch.setattr(hard_shapes, "draw", lambda *_: None)
    monkeypatch.setattr(moving_shapes, "save_frames", lambda file, frames: file.touch())
    storage = Storage(variant="hard", size=64, fps=None, least=16, most=16)
    builder = MovingShapes(data_dir=tmp_path / "prepared", root=tmp_path, config=storage)
    videos = {video.id: video for video in builder.list_videos("test")}
    assert len(videos) == MovingShapes.EXPECTED["hard", "test"] == 384
    assert MovingShapes.EXPECTED["hard", "train"] == 1920
    assert all("hard-edition-1" in video.file.parts for video in videos.values())
    captions = {scene.caption: scene for scene in list_scenes()}
    negatives = MovingShapes.list_negatives("hard", "test")
    assert tuple(negatives) == KINDS
    for kind, others in negatives.items():
        assert others.keys() == videos.keys()
        for name, other in others.items():
            scene = captions[videos[name].captions[0]]
            assert videos[other].captions == (scene.negate(kind).caption,)
            is_grouped = videos[other].group == videos[name].group
            assert is_grouped == (kind in ("order", "direction"))
    assert MovingShapes.list_negatives("default", "test") == {}
