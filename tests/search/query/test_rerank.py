"""Moments in another order, by a model that looks at text and video together."""

import dataclasses
import functools

import numpy as np
import pytest
from click.testing import CliRunner
from toy_index import FRAMES, make_toy_index, write_films

import tempme_jax
from tempme_jax.cli import main
from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.index import VideoIndex
from tempme_jax.search.query.searcher import Searcher

TEXT = "a red circle"


@functools.cache
def make_judge():
    """A small UMT of random weights."""
    return tempme_jax.create(
        "UMT-B/16", method="full", num_frames=FRAMES, embed_dim=16, image_size=16, patch=8,
        width=16, depth=1, heads=2, text_width=16, text_depth=2, text_heads=2, first_cross=1,
        vocab_size=4200, context_length=20, max_words=12,
    )  # fmt: skip


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    write_films(folder, {f"{name}.mp4": str(name) for name in range(1, 5)})
    found = VideoIndex(folder, model=make_judge())
    found.add(folder, quiet=True)
    return found


def test_the_best_are_judged_and_the_rest_follow(index):
    plain = index.search(TEXT, k=4).moments
    ranked = index.search(TEXT, k=4, rerank=3).moments
    assert {one.window for one in plain[:3]} == {one.window for one in ranked[:3]}
    assert ranked[3] == plain[3] and ranked[3].fit is None
    fits = [one.fit for one in ranked[:3]]
    assert fits == sorted(fits, reverse=True) and all(0 < fit < 1 for fit in fits)
    # All but the order and the fit is as before.
    assert set(plain) == {dataclasses.replace(one, fit=None) for one in ranked}
    assert len(index.search(TEXT, k=1, rerank=4).moments) == 1


def test_the_first_moment_tells_whether_the_match_is_confident(index, monkeypatch):
    monkeypatch.setattr(Searcher, "doubt", lambda self, one, kind="text": one.window)
    found = index.search(TEXT, k=4, rerank=4)
    assert found.message == found.moments[0].window and not found.confident
    monkeypatch.setattr(Searcher, "doubt", lambda self, one, kind="text": "")
    assert index.search(TEXT, k=4, rerank=4).confident


def test_a_model_judges_each_video_by_itself():
    model, rng = make_judge(), np.random.default_rng(0)
    videos = rng.integers(0, 256, (3, FRAMES, 16, 16, 3), dtype=np.uint8)
    together = model.judge(TEXT, videos)
    alone = [model.judge(TEXT, videos[i : i + 1])[0] for i in range(3)]
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert together.shape == (3,) and np.ptp(together) > 0
    assert model.judge(TEXT, videos[:0]).shape == (0,)


def test_a_video_that_is_gone_keeps_its_place_behind_the_judged(tmp_path):
    write_films(tmp_path, {f"{name}.mp4": str(name) for name in range(1, 4)})
    index = VideoIndex(tmp_path, model=make_judge())
    index.add(tmp_path, quiet=True)
    best = index.search(TEXT, k=3).moments[0]
    best.file.unlink()
    found = index.search(TEXT, k=3, rerank=3)
    assert [one.window for one in found.moments].index(best.window) == 2
    assert found.moments[2].fit is None and "1 moment could not be judged" in found.notice


def test_a_video_that_has_changed_is_not_judged(tmp_path):
    write_films(tmp_path, {"1.mp4": "1", "2.mp4": "2"})
    index = VideoIndex(tmp_path, model=make_judge())
    index.add(tmp_path, quiet=True)
    write_films(tmp_path, {"1.mp4": "3"})
    found = index.search(TEXT, k=2, rerank=2)
    assert {one.file.name: one.fit is None for one in found.moments} == {
        "1.mp4": True,
        "2.mp4": False,
    }
    assert "has changed since" in found.notice


def test_only_one_text_is_judged():
    videos = np.zeros((1, FRAMES, 16, 16, 3), np.uint8)
    with pytest.raises(TypeError, match="judge takes one text, not list"):
        make_judge().judge([TEXT, TEXT], videos)


def test_only_models_with_a_matching_head_judge(tmp_path):
    write_films(tmp_path, {"1.mp4": "1"})
    with pytest.raises(VideoIndexError, match="compares vectors only"):
        make_toy_index(tmp_path).search(TEXT, rerank=2)
    with pytest.raises(ValueError, match="no matching head"):
        tempme_jax.load("tiny-clip").judge(TEXT, np.zeros((1, 8, 64, 64, 3), np.uint8))


def test_a_picture_is_not_judged():
    result = CliRunner().invoke(main, ["search", "--image", "a.png", "--rerank", "3"])
    assert result.exit_code == 2 and "--rerank judges how well a TEXT fits" in result.output
