"""Re-ranking gives the published scores, in any order and number of texts and videos."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from repository import ROOT
from toy_umt import ARCH, KEY, WAYS, make, make_batch, make_small, read_params

from tempme_jax.networks.architecture import ARCHITECTURES
from tempme_jax.training import rerank
from tempme_jax.training.config import Config, EvaluateSettings
from tempme_jax.training.metrics import measure_retrieval
from tempme_jax.training.rerank import (
    NOT_JUDGED,
    count_fusion_macs,
    find_best,
    judge_pairs,
    list_rounds,
    rerank_pairs,
)
from tempme_jax.training.sharding import make_mesh

GOLDEN = np.load(ROOT / "tests/fixtures/reference/umt/objective.npz")
TOWERS = np.load(ROOT / "tests/fixtures/reference/umt/towers.npz")


class Videos:
    """Stands in for a prepared split and its reader: pixels as they are."""

    splits = ("test",)

    def __init__(self, frames):
        self.frames = np.asarray(frames)

    def __len__(self):
        return len(self.frames)

    def __call__(self, video, place):
        return self.frames[video], np.ones(len(self.frames[video]), bool)


def rerank_batch(monkeypatch, network, params, batch, similarity, *, best, size=3):
    """Return what `rerank_pairs` does for the texts and videos of a batch."""

    def read_pixels(prepared, num_frames, sampling):
        reader = Videos(prepared.frames)
        reader.prepared = prepared
        return reader

    monkeypatch.setattr(rerank, "FrameReader", read_pixels)
    monkeypatch.setattr(rerank, "convert_to_pixels", lambda frames, *_: frames)
    ids, mask = (np.asarray(batch[name]) for name in ("ids", "text_mask"))
    model = types.SimpleNamespace(
        network=network, arch=network.arch, num_frames=4, max_words=ids.shape[1],
        tokenizer=lambda numbers: (ids[list(numbers)], mask[list(numbers)]),
    )  # fmt: skip
    config = Config(evaluate=EvaluateSettings(rerank=best, batch_size=size))
    texts = list(range(len(ids)))
    videos = Videos(batch["frames"])
    return rerank_pairs(model, params, videos, config, make_mesh(-1, 1), texts, similarity)


def test_scores_and_recall_as_published(monkeypatch):
    name = "tiny_umt4clip"
    params = jax.tree.map(jnp.asarray, read_params(name))
    similarity = TOWERS[f"{name}/cosine_v2t"].T
    to_video, to_text, cost = rerank_batch(
        monkeypatch, make(name).network, params, make_batch(name), similarity, best=2
    )
    for ours, theirs in ((to_video, "t2v"), (to_text.T, "v2t")):
        golden = GOLDEN[f"{name}/reranked_{theirs}"]
        np.testing.assert_array_equal(ours == NOT_JUDGED, golden == -100)
        np.testing.assert_allclose(ours, golden, rtol=1e-5, atol=1e-5)
    measured = measure_retrieval(to_video, np.arange(4), ties="average", for_videos=to_text)
    recalls = [
        measured[way][f"R@{k}"] for way in ("video_to_text", "text_to_video") for k in (1, 5, 10)
    ]
    np.testing.assert_allclose([*recalls, np.mean(recalls)], GOLDEN[f"{name}/metrics"])
    assert cost["best"] == 2 and cost["pairs"] == (to_video + to_text > 2 * NOT_JUDGED).sum()
    assert cost["seconds"] > 0 < cost["mac"]


@pytest.mark.parametrize("name", WAYS)
def test_which_are_the_best(name):
    cosine = TOWERS[f"{name}/cosine_v2t"]
    judged = GOLDEN[f"{name}/reranked_v2t"] > -100
    np.testing.assert_array_equal(find_best(cosine, 2), judged)


def test_order_and_batches_change_no_score(monkeypatch):
    """Ten texts and seven videos, in batches of four, and in another order in batches of two."""
    objective, params, batch = make_small()
    rng = np.random.default_rng(0)
    batch = {
        "frames": np.float32(rng.standard_normal((7, 4, 16, 16, 3))),
        "ids": rng.integers(1, 99, (10, 12)).astype(np.int32),
        "text_mask": np.arange(12) < rng.integers(3, 12, (10, 1)),
    }
    similarity = rng.standard_normal((10, 7))
    monkeypatch.setattr(rerank, "TEXTS_AT_ONCE", 2)
    given = monkeypatch, objective.network, params
    expected = rerank_batch(*given, batch, similarity, best=3, size=4)[:2]
    rows, columns = rng.permutation(10), rng.permutation(7)
    moved = {"frames": batch["frames"][columns]}
    moved |= {name: batch[name][rows] for name in ("ids", "text_mask")}
    moved_similarity = similarity[rows][:, columns]
    found = rerank_batch(*given, moved, moved_similarity, best=3, size=2)[:2]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs[rows][:, columns], rtol=1e-5, atol=1e-6)
    # More than there are: all, and without a pair that is not judged.
    *every, cost = rerank_batch(*given, batch, similarity, best=500, size=4)
    assert (cost["best"], cost["pairs"]) == (10, 70)
    np.testing.assert_array_equal(every[0], every[1])
    assert every[0].min() > NOT_JUDGED
    # What stands behind a text changes nothing.
    padded = batch | {"ids": np.where(batch["text_mask"], batch["ids"], 7).astype(np.int32)}
    again = rerank_batch(*given, padded, similarity, best=3, size=4)[0]
    np.testing.assert_allclose(again, expected[0], rtol=1e-5, atol=1e-6)


def test_many_texts_of_a_video_are_judged_as_one_by_one():
    objective, params, batch = make_small()
    network, mesh = objective.network, make_mesh(-1, 1)

    @jax.jit
    def encode(params, batch):
        _, tokens, _, words = objective.encode(params, batch, KEY)
        return words, network.apply({"params": params}, tokens, method="remember")

    words, memory = encode(params, batch)
    index = jnp.asarray([[0, 1, 2, 3], [3, 1, 0, 2], [0, 0, 1, 1], [2, 3, 2, 3]])
    together = judge_pairs(network, mesh, params, memory, words, index)
    apart = [
        judge_pairs(network, mesh, params, memory, words, index[:, i : i + 1]) for i in range(4)
    ]
    np.testing.assert_allclose(together, np.concatenate(apart, axis=1), rtol=1e-5, atol=1e-6)


def test_rounds_have_every_pair_once():
    rng = np.random.default_rng(0)
    judged, number = rng.random((50, 6)) < 0.5, np.array([4, 0, -1, 5])
    found = np.zeros_like(judged, int)
    for index in list_rounds(judged, number):
        assert index.shape == (4, rerank.TEXTS_AT_ONCE)
        row, column = np.nonzero(index >= 0)
        np.add.at(found, (index[row, column], number[row]), 1)
    expected = judged * np.isin(np.arange(6), number)
    np.testing.assert_array_equal(found, expected)
    assert list_rounds(np.zeros((3, 2), bool), np.array([0, 1])) == []


def test_the_arithmetic_of_the_specification():
    """Multiply-accumulates of a pair, with keys and values made for it, and of 128,000 pairs."""
    arch = ARCHITECTURES["UMT-B/16"]
    for seen, pair, total in ((2352, 9.47, 155), (185, 1.48, 106)):
        of_video, of_pair = count_fusion_macs(arch, 32, seen)
        assert round((of_video + of_pair) / 1e9, 2) == pair
        assert round((1000 * of_video + 128_000 * of_pair) / 1e12) == total
    assert ARCH.first_cross == 2
