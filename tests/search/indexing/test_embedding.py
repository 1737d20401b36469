"""Windows are embedded in full batches, and each video is given whole, or not at all."""

import numpy as np
import pytest
import toy_index

from tempme_jax.encoding import choose_video_batch
from tempme_jax.search.indexing.embedding import Advance, Embedder, make_embedder
from tempme_jax.search.indexing.reading import FailedVideo, Piece

SIDE, FRAMES = 2, 3


def piece(key, numbers, *, last=True):
    """Windows that hold nothing but a number each."""
    numbers = list(numbers)
    return Piece(
        key=key,
        seconds=float(numbers[-1]),
        spans=[(float(number), number + 1.0) for number in numbers],
        frames=np.array(numbers, np.uint8)[:, None, None, None, None]
        * np.ones((1, FRAMES, SIDE, SIDE, 3), np.uint8),
        thumbnails=[b"%d" % number for number in numbers],
        last=last,
    )


class Encoder:
    """Gives vectors that say which window they are of, and keeps the batches."""

    def __init__(self):
        self.batches = []

    def __call__(self, frames):
        assert frames.shape[1:] == (FRAMES, SIDE, SIDE, 3)
        self.batches.append(frames[:, 0, 0, 0, 0].tolist())
        return np.stack([frames[:, 0, 0, 0, 0], frames[:, -1, -1, -1, -1]], axis=1)


def embed(items, batch=4):
    encode = Encoder()
    embedder = Embedder(encode, batch)
    done = embedder(iter(items))
    videos = [video for video in done if not isinstance(video, Advance)]
    return videos, encode.batches, embedder


def assert_whole(video, key, numbers):
    numbers = list(numbers)
    assert (video.key, video.seconds) == (key, numbers[-1])
    assert video.spans == [(number, number + 1) for number in numbers]
    np.testing.assert_array_equal(video.vectors, [[number] * 2 for number in numbers])
    assert video.thumbnails == [b"%d" % number for number in numbers]


def test_batches_are_full_whatever_video_their_windows_are_of():
    items = [piece("a", [1]), piece("b", range(2, 9)), piece("c", [9]), piece("d", [10, 11])]
    videos, batches, embedder = embed(items)
    assert batches == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 0]]  # the last is filled up
    for video, numbers in zip(videos, ([1], range(2, 9), [9], [10, 11]), strict=True):
        assert_whole(video, "abcd"[videos.index(video)], numbers)
    assert embedder.encoded > 0 and embedder.waited > 0


def test_nothing():
    assert embed([])[:2] == ([], [])


def test_a_video_comes_as_soon_as_its_last_window_is_embedded():
    asked = []

    def items():
        for one in (piece("a", [1, 2]), piece("b", [3, 4, 5, 6]), piece("c", [7])):
            asked.append(one.key)
            yield one

    videos = Embedder(Encoder(), 2)(items())
    assert (next(videos).key, asked) == ("a", ["a"])
    assert (next(videos), asked) == (Advance("b", 5.0, 6.0), ["a", "b"])
    assert (next(videos).key, asked) == ("b", ["a", "b"])


def test_a_video_in_many_pieces():
    items = [piece("a", range(1, 4), last=False), piece("a", range(4, 6), last=False)]
    [video], batches, _ = embed([*items, piece("a", range(6, 8))])
    assert_whole(video, "a", range(1, 8))
    assert [len(batch) for batch in batches] == [4, 4]


@pytest.mark.parametrize("batch", [1, 2, 4, 100])
def test_a_video_that_fails_halfway_leaves_nothing_behind(batch):
    failed = FailedVideo("b", "decode", "damaged")
    items = [
        piece("a", [1]), piece("b", range(2, 5), last=False), failed, piece("c", range(5, 8)),
    ]  # fmt: skip
    videos, batches, _ = embed(items, batch)
    by_key = {video.key: video for video in videos}
    assert len(videos) == 3 and by_key["b"] == failed
    assert_whole(by_key["a"], "a", [1])
    assert_whole(by_key["c"], "c", range(5, 8))
    if batch == 100:  # nothing of it was embedded
        assert [number for number in batches[0] if number] == [1, 5, 6, 7]


def test_embedding_with_a_model():
    """As the model itself does, but for what another order of adding up changes."""
    model = toy_index.make_model()
    shape = (5, toy_index.FRAMES, toy_index.SIDE, toy_index.SIDE, 3)
    frames = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    thumbnails, spans = [b""] * 5, [(0.0, 1.0)] * 5
    embedder = make_embedder(model)
    assert embedder.batch % choose_video_batch() == 0
    *_, video = embedder(iter([Piece("a", 1.0, spans, frames, thumbnails, True)]))
    np.testing.assert_allclose(video.vectors, model.embed_video(frames), rtol=0, atol=1e-5)
    # The same bits, wherever in a batch and beside whatever else.
    *_, other = embedder(iter([Piece("a", 1.0, spans, frames[::-1], thumbnails, True)]))
    assert other.vectors[::-1].tobytes() == video.vectors.tobytes()


def test_vectors_that_are_no_numbers_fail_their_video():
    def encode(frames):
        vectors = np.ones((len(frames), 3), np.float32)
        vectors[frames[:, 0, 0, 0, 0] == 7] = np.nan
        return vectors

    items = [piece("bad", [1, 7], last=True), piece("good", [2], last=True)]
    bad, good = Embedder(encode, 2)(items)
    assert (bad.key, bad.stage) == ("bad", "embed") and "not finite" in bad.reason
    assert good.key == "good"
