"""Evaluation gives the same whatever is read at once, and by whom."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from small_set import make_small_set
from toy_clip import FRAMES, make_params

from tempme_jax import create
from tempme_jax.datasets.moving_shapes import MovingShapes
from tempme_jax.datasets.prepared import decode_jpeg
from tempme_jax.encoding import TEXT_BATCH
from tempme_jax.networks.architecture import Architecture
from tempme_jax.training.evaluate import evaluate_split
from tempme_jax.training.flags import build_config
from tempme_jax.training.order import make_pairs
from tempme_jax.training.sharding import make_mesh
from tempme_jax.training.split_embedder import SplitEmbedder

TOY = Architecture(
    embed_dim=8, image_size=32, patch=16, width=16, depth=1, heads=1,
    text_width=16, text_depth=1, text_heads=1, vocab_size=600, context_length=24,
)  # fmt: skip
CONFIG = build_config({"evaluate": {"batch_size": 7, "frame_sampling": "uniform", "draws": 50}})


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Ten videos to train on and seven to test, of two captions each."""
    return make_small_set(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="module")
def test_set(sets):
    return sets[1]


@pytest.fixture(scope="module")
def model():
    options = {"rank": 2, "r": 0, "layers": (0,), "groups": (2,)}
    model = create(TOY, num_frames=FRAMES, max_words=20, method_options=options)
    return dataclasses.replace(model, params=make_params(model.network))


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(-1, 1)


def with_settings(*, workers=0, **settings):
    evaluate = dataclasses.replace(CONFIG.evaluate, **settings)
    data = dataclasses.replace(CONFIG.data, workers=workers)
    return dataclasses.replace(CONFIG, evaluate=evaluate, data=data)


@pytest.fixture(scope="module")
def measured(model, mesh, test_set):
    return evaluate_split(model, model.params, test_set, CONFIG, mesh)


@pytest.fixture(scope="module")
def vectors(model, mesh, test_set):
    embedder = SplitEmbedder(model, model.params, CONFIG, mesh)
    queries = make_pairs(test_set.captions, test_set.groups)
    return embedder.embed_texts(list(queries.texts)), embedder.embed_videos(test_set), queries


def test_vectors_are_those_of_the_model(model, vectors, test_set):
    texts, videos, queries = vectors
    assert queries.texts == tuple(text for of_video in test_set.captions for text in of_video)
    np.testing.assert_allclose(texts, model.embed_text(list(queries.texts)), atol=1e-6)
    for number in range(len(test_set)):
        frames = np.stack([decode_jpeg(jpeg) for jpeg in test_set[number][0]])
        np.testing.assert_allclose(videos[number], model.embed_video(frames)[0], atol=1e-6)
    assert np.abs(videos[0] - videos[1]).max() > 1e-3


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (7, 2), (64, 0)])
def test_batches_and_workers_change_nothing(
    model, mesh, test_set, vectors, measured, batch_size, workers
):
    config = with_settings(batch_size=batch_size, workers=workers)
    videos = SplitEmbedder(model, model.params, config, mesh).embed_videos(test_set)
    np.testing.assert_allclose(videos, vectors[1], rtol=0, atol=1e-6)
    if not workers:
        assert evaluate_split(model, model.params, test_set, config, mesh) == measured


def test_more_texts_than_go_at_once(model, mesh):
    texts = [f"text {i}" for i in range(TEXT_BATCH + 3)]
    embedder = SplitEmbedder(model, model.params, CONFIG, mesh)
    found = embedder.embed_texts(texts)
    np.testing.assert_allclose(found, model.embed_text(texts), atol=1e-6)
    assert embedder.embed_texts([]).shape == (0, TOY.embed_dim)


def test_every_caption_is_a_query_for_its_video(vectors, measured):
    """Ranks by hand: of the video of each caption, and of the best caption of each video."""
    texts, videos, queries = vectors
    assert queries.video.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]
    scores = texts @ videos.T
    to_video = [1 + (row > row[v]).sum() for row, v in zip(scores, queries.video, strict=True)]
    to_text = []
    for video, column in enumerate(scores.T):
        best = column[queries.video == video].max()
        to_text.append(1 + (column[queries.video != video] > best).sum())
    for name, ranks in (("text_to_video", to_video), ("video_to_text", to_text)):
        found = measured[name]
        assert found["MnR"] == pytest.approx(np.mean(ranks))
        for k in (1, 5, 10):
            assert found[f"R@{k}"] == pytest.approx(100 * np.mean(np.array(ranks) <= k))
    assert 1 < measured["text_to_video"]["MnR"] < 7  # neither all right nor all wrong


def test_hard_negatives_by_kind(model, mesh, test_set, vectors, measured, monkeypatch):
    """Those that the data set names, of the videos that are there."""
    ids, asked = test_set.ids, []

    def list_negatives(variant, split):
        asked.append((variant, split))
        return {"order": {ids[0]: ids[1], ids[2]: ids[3], ids[4]: "gone"}, "colour": {}}

    data = dataclasses.replace(CONFIG.data, name="moving_shapes", variant="hard")
    monkeypatch.setattr(MovingShapes, "list_negatives", list_negatives)
    config = dataclasses.replace(CONFIG, data=data)
    found = evaluate_split(model, model.params, test_set, config, mesh)
    texts, videos, _ = vectors
    scores = texts @ videos.T  # of texts 0 and 1 for video 0, 4 and 5 for video 2
    above = [scores[t, v] > scores[t, v + 1] for t, v in ((0, 0), (1, 0), (4, 2), (5, 2))]
    assert found.pop("negatives") == {"order": {"texts": 4, "accuracy": 100 * np.mean(above)}}
    assert found == measured
    assert asked == [("hard", "test")]


def test_the_temperature_does_not_change_ranks(model, mesh, test_set, measured):
    params = {**model.params, "logit_scale": jnp.float32(3)}
    assert evaluate_split(model, params, test_set, CONFIG, mesh) == measured


def test_what_looks_at_all_queries_says_so(model, mesh, sets, measured):
    plain = measured["protocol"]
    assert (plain["dual_softmax"], plain["qb_norm"], plain["notes"]) == (False, False, [])
    softmax = with_settings(dual_softmax=True)
    found = evaluate_split(model, model.params, sets[1], softmax, mesh)["protocol"]
    assert (found["dual_softmax"], found["qb_norm"]) == (True, False)
    assert found["notes"]
    bank = with_settings(qb_norm=True)
    found = evaluate_split(model, model.params, sets[1], bank, mesh, bank=sets[0])["protocol"]
    assert (found["dual_softmax"], found["qb_norm"]) == (False, True)
    assert found["notes"]


def test_intervals_on_demand(model, mesh, test_set, measured):
    assert not measured["text_to_video"]["intervals"]
    found = evaluate_split(model, model.params, test_set, CONFIG, mesh, intervals=True)
    low, high = found["text_to_video"]["intervals"]["MnR"]
    assert low < found["text_to_video"]["MnR"] < high
    assert found["text_to_video"] | {"intervals": {}} == measured["text_to_video"]


def test_late_interaction_at_a_high_temperature_is_the_mean(model, mesh, sets, measured):
    """Also of training texts and videos, by which hubs are found."""
    high = with_settings(tau=1e7)
    found = evaluate_split(model, model.params, sets[1], high, mesh)
    assert found["protocol"].pop("notes") == ["late interaction over frames, tau 1e+07"]
    assert found == measured | {
        "protocol": {k: v for k, v in measured["protocol"].items() if k != "notes"}
    }
    banked = (
        evaluate_split(model, model.params, sets[1], one, mesh, bank=sets[0])
        for one in (with_settings(tau=1e7, qb_norm=True), with_settings(qb_norm=True))
    )
    assert len({str(one["text_to_video"]) for one in banked}) == 1
