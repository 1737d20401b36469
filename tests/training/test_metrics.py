"""Retrieval metrics equal what pure Python counts, pair by pair."""

import functools
import math
import random
import statistics
import time
import typing

import ml_dtypes
import numpy as np
import pytest

from tempme_jax.training import metrics
from tempme_jax.training.metrics import MEASURES, Bootstrap, Ties, compare_with_negatives
from tempme_jax.training.similarity import QueryBank, apply_dual_softmax, apply_qb_norm

DIRECTIONS = ("text_to_video", "video_to_text")
TIES = typing.get_args(Ties)
measure_retrieval = functools.partial(
    metrics.measure_retrieval, ties="average", intervals=Bootstrap(1000)
)


def brute_ranks(own, others, ties):
    """All ranks of a query with score `own`, whose rivals have the scores `others`."""
    larger = sum(score > own for score in others)
    equal = sum(score == own for score in others)
    return {
        "average": [1 + larger + equal / 2],
        "optimistic": [1 + larger],
        "pessimistic": [1 + larger + equal],
        "clip4clip": [1 + larger + extra for extra in range(equal + 1)],
    }[ties]


def brute_force(similarity, owner, ties):
    to_video, to_text = [], []
    for row, video in zip(similarity, owner, strict=True):
        to_video += brute_ranks(row[video], row[:video] + row[video + 1 :], ties)
    for video in sorted(set(owner)):
        own = [row[video] for row, of in zip(similarity, owner, strict=True) if of == video]
        others = [row[video] for row, of in zip(similarity, owner, strict=True) if of != video]
        to_text += brute_ranks(max(own), others, ties)
    return [
        {f"R@{k}": 100 * sum(rank <= k for rank in ranks) / len(ranks) for k in (1, 5, 10)}
        | {"MdR": statistics.median(ranks), "MnR": sum(ranks) / len(ranks)}
        for ranks in (to_video, to_text)
    ]


def point(similarity, owner, **options):
    result = measure_retrieval(similarity, owner, intervals=None, **options)
    return [{name: result[to][name] for name in MEASURES} for to in DIRECTIONS]


def random_case(draw):
    """Up to 24 texts of up to 14 videos, scores of few values so that many tie."""
    videos = draw.randint(1, 14)
    owner = [draw.randrange(videos) for _ in range(draw.randint(1, 24))]
    levels = draw.choice([1, 2, 4, 8, 1000])
    similarity = [[draw.randrange(levels) / 8 - 0.25 for _ in range(videos)] for _ in owner]
    return similarity, owner


@pytest.mark.parametrize("ties", TIES)
def test_a_thousand_random_matrices(ties):
    draw = random.Random(0)
    for _ in range(1000):
        similarity, owner = random_case(draw)
        expected = brute_force(similarity, owner, ties)
        for result, one in zip(point(similarity, owner, ties=ties), expected, strict=True):
            one["R-Sum"] = one["R@1"] + one["R@5"] + one["R@10"]
            assert result == pytest.approx(one, rel=1e-12), (similarity, owner)


def test_by_hand():
    similarity = np.array([
        [0.9, 0.1, 0.2, 0.3],  # 1st
        [0.8, 0.5, 0.1, 0.2],  # 2nd
        [0.4, 0.3, 0.2, 0.1],  # 3rd
        [0.1, 0.2, 0.7, 0.7],  # 1st or 2nd
    ])  # fmt: skip
    to_video, to_text = point(similarity, [0, 1, 2, 3])
    expected = {"R@1": 25, "R@5": 100, "R@10": 100, "R-Sum": 225, "MdR": 1.75, "MnR": 7.5 / 4}
    assert to_video == expected
    # Of the columns: 1st, 1st, 2nd or 3rd, 1st.
    expected = {"R@1": 75, "R@5": 100, "R@10": 100, "R-Sum": 275, "MdR": 1, "MnR": 5.5 / 4}
    assert to_text == expected


def test_captions_of_one_video_are_no_rivals():
    """The best caption counts; that another of the same video scores the same is no tie."""
    similarity = [[0.9, 0.3], [0.9, 0.9], [0.5, 0.9]]
    to_video, to_text = point(similarity, [0, 0, 1])
    assert (to_video["MnR"], to_video["R@1"]) == (pytest.approx((1 + 1.5 + 1) / 3), 200 / 3)
    assert (to_text["MnR"], to_text["R@1"]) == ((1 + 1.5) / 2, 50)


def test_a_video_without_caption_is_searched_but_does_not_search():
    to_video, to_text = point([[0.5, 0.9, 0.1], [0.2, 0.1, 0.3]], [0, 2])
    assert to_video["MnR"] == (2 + 1) / 2
    assert to_text["MnR"] == 1


def test_clip4clip_has_four_ranks_for_three_queries():
    similarity = np.array([[3.0, 1, 2], [2, 2, 1], [3, 2, 1]])
    # As its `compute_metrics` does: all places of the own score in the sorted row.
    ordered = np.sort(-similarity, axis=1)
    places = np.nonzero(ordered - np.diag(-similarity)[:, None] == 0)[1] + 1
    assert places.tolist() == [1, 1, 2, 3]
    result, _ = point(similarity, [0, 1, 2], ties="clip4clip")
    expected = {"R@1": 50, "R@5": 100, "R@10": 100, "R-Sum": 250, "MdR": 1.5, "MnR": 7 / 4}
    assert result == expected


@pytest.mark.parametrize(("ties", "first"), [("average", 0), ("optimistic", 100)])
def test_equal_scores_everywhere(ties, first):
    to_video, to_text = point(np.zeros((20, 20), np.float32), np.arange(20), ties=ties)
    assert to_video == to_text
    assert to_video["R@1"] == first
    assert to_video["MnR"] == (10.5 if ties == "average" else 1)


@pytest.mark.parametrize("ties", TIES)
def test_the_order_does_not_matter(ties):
    rng = np.random.default_rng(1)
    similarity = rng.integers(0, 30, (60, 25)).astype(np.float32)
    owner = rng.integers(0, 25, 60)
    texts, videos = rng.permutation(60), rng.permutation(25)
    shuffled = similarity[texts][:, videos]
    owner_shuffled = np.argsort(videos)[owner[texts]]
    expected = measure_retrieval(similarity, owner, ties=ties)
    assert measure_retrieval(shuffled, owner_shuffled, ties=ties) == expected


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64, np.int8])
def test_any_kind_of_number(dtype):
    similarity = np.random.default_rng(2).integers(-9, 9, (12, 12))
    expected = point(similarity.astype(np.float32), np.arange(12))
    assert point(similarity.astype(dtype), np.arange(12)) == expected


def test_blocks_do_not_matter(monkeypatch):
    similarity = np.random.default_rng(3).normal(size=(40, 20)).astype(np.float32)
    bank = QueryBank(similarity[:7] + 1, similarity[:9, :20].repeat(2, axis=1))
    owner = np.arange(40) // 2
    expected = measure_retrieval(similarity, owner, bank=bank)
    monkeypatch.setattr(metrics, "BLOCK", 60)
    monkeypatch.setattr("tempme_jax.training.similarity.BLOCK", 60)
    assert measure_retrieval(similarity, owner, bank=bank) == expected


def test_nan_is_an_error_that_says_where():
    similarity = np.ones((4, 5), np.float32)
    similarity[2] = np.nan
    similarity[3, 1] = np.nan
    with pytest.raises(
        ValueError, match=r"text 2 and video 0 is NaN, the first of 6 \(1 whole row"
    ):
        measure_retrieval(similarity, [0, 1, 2, 3])


@pytest.mark.parametrize(
    ("similarity", "owner", "options", "message"),
    [
        (np.ones(3), [0], {}, r"shape \(3,\); expected a row for each text"),
        (np.ones((0, 3)), [], {}, "expected a row for each text"),
        (np.ones((2, 3)), [0], {}, r"video_of_text is int64\[1\]; .* of the 2 texts"),
        (np.ones((2, 3)), [0.0, 1.0], {}, "a whole number for each"),
        (np.ones((2, 3)), [0, 3], {}, "text 1 is of video 3, but the columns are of videos 0 to 2"),
        (np.ones((2, 3)), [-1, 0], {}, "text 0 is of video -1"),
        (np.ones((2, 2)), [0, 1], {"ties": "avrage"}, "did you mean 'average'"),
        (np.ones((2, 2)), [0, 1], {"intervals": Bootstrap(draws=0)}, "draws=0 must be"),
        (np.ones((2, 2)), [0, 1], {"bank": QueryBank(np.ones((3, 4)), np.ones((3, 2)))}, "4 items"),
        (
            np.ones((2, 2)),
            [0, 1],
            {"bank": QueryBank(np.full((3, 2), np.nan), np.ones((3, 2)))},
            "training query 0 and item 0 is NaN",
        ),
        (
            np.ones((2, 2)),
            [0, 1],
            {"dual_softmax": True, "bank": QueryBank(np.ones((3, 2)), np.ones((3, 2)))},
            "choose one",
        ),
    ],
)
def test_bad_input(similarity, owner, options, message):
    with pytest.raises(ValueError, match=message):
        measure_retrieval(similarity, owner, **options)


def test_intervals_are_those_of_drawing_queries():
    """As drawing the ranks themselves does, up to the noise of the draws."""
    rng = np.random.default_rng(4)
    similarity = rng.integers(0, 40, (150, 150)).astype(np.float32) + 25 * np.eye(150)
    for ties in TIES:
        result = measure_retrieval(similarity, np.arange(150), ties=ties)["text_to_video"]
        larger, equal = metrics.count_rivals_of_texts(similarity, np.arange(150))
        drawn = []
        for _ in range(1000):
            picked = rng.integers(0, 150, 150)
            first, size = metrics.compute_ranks(larger[picked], equal[picked], ties)
            ranks = np.concatenate([f + np.arange(s) for f, s in zip(first, size, strict=True)])
            drawn.append([100 * np.mean(ranks <= 10), np.median(ranks), np.mean(ranks)])
        low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
        for column, name in enumerate(["R@10", "MdR", "MnR"]):
            width = high[column] - low[column]
            expected = [low[column], high[column]]
            assert result["intervals"][name] == pytest.approx(expected, abs=0.2 * width + 0.5)
            assert low[column] <= result[name] <= high[column]


def test_intervals_are_the_same_for_the_same_seed():
    similarity = np.random.default_rng(5).normal(size=(50, 50))
    owner = np.arange(50)
    first, again, other = (
        measure_retrieval(similarity, owner, intervals=Bootstrap(1000, seed=seed))
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other
    narrow = measure_retrieval(similarity, owner, intervals=Bootstrap(1000, level=0.5))
    low, high = narrow["text_to_video"]["intervals"]["MnR"]
    assert first["text_to_video"]["intervals"]["MnR"][0] < low < high
    assert set(first["text_to_video"]["intervals"]) == set(MEASURES)
    none = measure_retrieval(similarity, owner, intervals=None)
    assert none["video_to_text"]["intervals"] == {}


def test_intervals_hold_the_true_recall_about_as_often_as_they_say():
    """Ranks of which 40 % are first: the 95 % interval of 200 of them should mostly hold 40."""
    rng = np.random.default_rng(6)
    held = 0
    for trial in range(200):
        first = np.where(rng.random(200) < 0.4, 1.0, 7.0)
        low, high = metrics.measure_ranks(first, np.ones(200), Bootstrap(1000, seed=trial))[
            "intervals"
        ]["R@1"]
        held += low <= 40 <= high
    assert 180 <= held <= 199


def test_certain_ranks_have_no_width():
    result = measure_retrieval(np.eye(30), np.arange(30))["text_to_video"]
    assert result["intervals"]["R-Sum"] == [300, 300]
    assert result["intervals"]["MnR"] == [1, 1]


def rank_as_clip4clip(similarity, owner):
    """Ranks of both directions as of its tensor of [videos, captions, videos], padded with -inf."""
    videos = similarity.shape[1]
    most = max(np.bincount(owner))
    tensor = np.full((videos, most, videos), -np.inf)
    for video in range(videos):
        own = similarity[owner == video]
        tensor[video, : len(own)] = own
    to_video = [
        1 + (tensor[video, number] > tensor[video, number, video]).sum()
        for video in range(videos)
        for number in range((owner == video).sum())
    ]
    best = tensor.max(axis=1).T  # a row for each video, a column for each video's captions
    to_text = [1 + (best[video] > best[video, video]).sum() for video in range(videos)]
    return np.array(to_video), np.array(to_text)


@pytest.mark.parametrize("shuffle", [False, True])
def test_of_every_other_video_the_best_caption_counts_as_in_clip4clip(shuffle):
    rng = np.random.default_rng(12)
    owner = np.repeat(np.arange(25), rng.integers(1, 9, 25))
    owner = rng.permutation(owner) if shuffle else owner
    similarity = rng.normal(size=(len(owner), 25)) + 2 * (owner[:, None] == np.arange(25))
    to_video, to_text = rank_as_clip4clip(similarity, owner)
    found = measure_retrieval(similarity, owner, rivals="videos", ties="clip4clip")
    for ranks, direction in ((to_video, "text_to_video"), (to_text, "video_to_text")):
        measured = found[direction]
        assert measured["MnR"] == pytest.approx(ranks.mean())
        assert [measured[f"R@{k}"] for k in (1, 5, 10)] == [
            pytest.approx(100 * (ranks <= k).mean()) for k in (1, 5, 10)
        ]
    strict = measure_retrieval(similarity, owner)
    assert strict["text_to_video"] == found["text_to_video"]
    assert strict["video_to_text"]["MnR"] > found["video_to_text"]["MnR"]
    assert strict["video_to_text"]["R@1"] == found["video_to_text"]["R@1"]


def test_with_one_caption_for_each_video_rivals_are_the_same():
    similarity = np.random.default_rng(13).integers(0, 9, (30, 30)).astype(float)
    owner = np.arange(30)[::-1]
    captions, videos = (
        measure_retrieval(similarity, owner, rivals=r) for r in ("captions", "videos")
    )
    assert captions["video_to_text"] == videos["video_to_text"]


def naive_dual_softmax(similarity, inverse_temperature):
    queries, gallery = len(similarity), len(similarity[0])
    result = [[0.0] * gallery for _ in range(queries)]
    for column in range(gallery):
        total = sum(math.exp(inverse_temperature * row[column]) for row in similarity)
        for row in range(queries):
            score = similarity[row][column]
            share = math.exp(inverse_temperature * score) / total
            result[row][column] = score * share * queries
    return result


def test_dual_softmax():
    similarity = np.random.default_rng(7).normal(size=(6, 5)).astype(np.float32) * 3
    found = apply_dual_softmax(similarity, inverse_temperature=0.5)
    np.testing.assert_allclose(found, naive_dual_softmax(similarity.tolist(), 0.5), rtol=1e-12)
    assert np.isfinite(apply_dual_softmax(similarity * 1e4)).all()


def naive_qb_norm(similarity, bank, beta, k):
    hubs = {i for row in bank for i in sorted(range(len(row)), key=lambda i: -row[i])[:k]}
    result = []
    for row in similarity:
        if max(range(len(row)), key=row.__getitem__) in hubs:
            norm = [sum(math.exp(beta * query[i]) for query in bank) for i in range(len(row))]
            row = [math.exp(beta * score) / norm[i] for i, score in enumerate(row)]
        result.append(row)
    return result


@pytest.mark.parametrize("k", [1, 2])
def test_qb_norm(k):
    rng = np.random.default_rng(8)
    similarity, bank = rng.normal(size=(30, 12)) * 5, rng.normal(size=(4, 12)) * 5
    naive = np.array(naive_qb_norm(similarity.tolist(), bank.tolist(), 0.2, k))
    found = apply_qb_norm(similarity, bank, k=k)
    changed = (found != similarity).any(axis=1)
    assert 0 < changed.sum() < 30
    np.testing.assert_allclose(np.exp(found[changed]), naive[changed], rtol=1e-12)
    np.testing.assert_array_equal(found[~changed], naive[~changed])
    assert np.isfinite(apply_qb_norm(similarity * 1e4, bank * 1e4)).all()


def test_dual_softmax_is_per_direction_and_named():
    """Every direction's softmax is over its own queries."""
    similarity = np.random.default_rng(9).normal(size=(20, 10)) * 4
    owner = np.arange(20) // 2
    result = measure_retrieval(similarity, owner, dual_softmax=True, intervals=None)
    by_text = naive_dual_softmax(similarity.tolist(), 1.0)
    by_video = np.transpose(naive_dual_softmax(similarity.T.tolist(), 1.0)).tolist()
    assert (
        result["text_to_video"]["MnR"] == brute_force(by_text, owner.tolist(), "average")[0]["MnR"]
    )
    assert (
        result["video_to_text"]["MnR"] == brute_force(by_video, owner.tolist(), "average")[1]["MnR"]
    )
    assert result["protocol"] == {
        "ties": "average",
        "dual_softmax": True,
        "qb_norm": False,
        "rivals": "captions",
        "notes": ["transductive: dual softmax over all test queries"],
    }


def test_qb_norm_lowers_a_hub_and_is_named():
    """Video 0 is near everything; training texts show it, so it no longer comes first."""
    rng = np.random.default_rng(10)
    similarity = 20 * np.eye(12) + rng.normal(size=(12, 12))
    similarity[:, 0] += 25
    training = rng.normal(size=(40, 12))
    training[:, 0] += 25
    bank = QueryBank(training, rng.normal(size=(3, 12)))
    plain = measure_retrieval(similarity, np.arange(12), intervals=None)
    result = measure_retrieval(similarity, np.arange(12), bank=bank, intervals=None)
    assert plain["text_to_video"]["R@1"] < 20
    assert result["text_to_video"]["R@1"] > 80
    assert result["protocol"]["qb_norm"] is True
    assert result["protocol"]["notes"] == ["query bank: 40 training texts, 3 videos"]


def test_large_matrices_take_seconds():
    similarity = np.random.default_rng(11).random((3000, 3000), np.float32)
    start = time.monotonic()
    result = measure_retrieval(similarity, np.arange(3000))
    assert time.monotonic() - start < 10
    assert result["text_to_video"]["MnR"] == pytest.approx(1500, abs=60)


def test_hard_negatives_of_each_kind():
    """The share of the texts that score their own video higher; as high counts half."""
    similarity = np.array([[3, 1, 2], [2, 2, 0], [1, 5, 4], [0, 0, 1]])
    negatives = {"order": np.array([1, 0, 1, -1]), "none": np.full(4, -1)}
    measured = measure_retrieval(
        similarity, [0, 1, 2, 2], ties="average", rivals="videos", negatives=negatives
    )
    assert measured["negatives"] == {"order": {"texts": 3, "accuracy": 50.0}}  # (1 + 0.5 + 0) / 3
    without = measure_retrieval(similarity, [0, 1, 2, 2], ties="average", rivals="videos")
    assert without == {name: one for name, one in measured.items() if name != "negatives"}


def test_scores_that_are_infinite_are_compared_with_negatives():
    scores = np.array([[-np.inf, -np.inf], [0.0, np.inf]])
    found = compare_with_negatives(scores, np.array([0, 1]), {"order": np.array([1, 0])})
    assert found == {"order": {"texts": 2, "accuracy": 75.0}}
