"""Rows are read as planned: the frames by the rules, whoever reads them and wherever it begins."""

import io
import multiprocessing
import pickle

import numpy as np
import pytest
from PIL import Image
from small_set import STORED, make_small_set

from tempme_jax.datasets.prepared import decode_jpeg
from tempme_jax.text.bpe import Tokenizer
from tempme_jax.training.batches import (
    FrameReader,
    TrainingRows,
    VideoRows,
    read_batches,
    sample_frames,
)
from tempme_jax.training.order import Order, make_pairs

BATCH = 4
STEPS = 12
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return make_small_set(tmp_path_factory.mktemp("set"))[0]


@pytest.fixture(scope="module")
def source(prepared):
    """More than two epochs, of frames that are drawn."""
    pairs = make_pairs(prepared.captions, prepared.groups)
    order = Order(pairs, batch_size=BATCH, kind="distinct", seed=1)
    return TrainingRows(order, FrameReader(prepared, 3, "random_segment", 1), Tokenizer(9), STEPS)


def rows_of(source, batch_size=BATCH, **options):
    with read_batches(source, batch_size, **options) as reader:
        return list(reader)


def assert_same(ours, expected):
    assert len(ours) == len(expected)
    for batch, other in zip(ours, expected, strict=True):
        assert batch.keys() == other.keys()
        for name, array in other.items():
            np.testing.assert_array_equal(batch[name], array, err_msg=name, strict=True)


@pytest.mark.parametrize(
    ("rule", "stored", "wanted", "chosen"),
    [
        ("uniform", 10, 5, [1, 3, 5, 7, 9]),
        ("uniform", 7, 3, [1, 3, 5]),
        ("uniform", 8, 8, [0, 1, 2, 3, 4, 5, 6, 7]),
        ("uniform", 3, 5, [0, 1, 2]),
        ("repeat", 10, 4, [0, 3, 6, 9]),
        ("repeat", 8, 3, [0, 3, 7]),
        ("repeat", 5, 5, [0, 1, 2, 3, 4]),
        ("repeat", 2, 4, [0, 0, 0, 1]),
        ("repeat", 1, 3, [0, 0, 0]),
        ("repeat", 5, 1, [0]),
        ("random_segment", 3, 3, [0, 1, 2]),
        ("random_segment", 3, 5, [0, 1, 2]),
        # UMT's, of its specification: the middles of spans, the last frame repeated.
        ("umt", 300, 12, [12 + 25 * i for i in range(11)] + [287]),
        ("umt", 25, 12, [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 23]),
        ("umt", 12, 12, list(range(12))),
        ("umt", 2, 4, [0, 1, 1, 1]),
        ("umt", 1, 3, [0, 0, 0]),
        ("umt_random", 2, 4, [0, 1, 1, 1]),
        ("umt_random", 4, 4, [0, 1, 2, 3]),
        ("umt_random", 8, 4, [0, 2, 4, 6]),  # of spans of two, the first
    ],
)
def test_which_frames(rule, stored, wanted, chosen):
    assert sample_frames(rule, stored, wanted, RNG).tolist() == chosen


def test_random_frames_lie_in_their_segments():
    drawn = np.array(
        [sample_frames("random_segment", 12, 4, np.random.default_rng(i)) for i in range(200)]
    )
    for segment in range(4):
        assert sorted(set(drawn[:, segment].tolist())) == list(range(3 * segment, 3 * segment + 3))
    one_of_all = {
        int(sample_frames("random_segment", 5, 1, np.random.default_rng(i))[0]) for i in range(100)
    }
    assert one_of_all == set(range(5))


def test_umts_random_frames():
    """Never the last of a span; if a span has only one, any of the video, in their order."""
    drawn = np.array(
        [sample_frames("umt_random", 12, 4, np.random.default_rng(i)) for i in range(200)]
    )
    for span in range(4):
        assert sorted(set(drawn[:, span].tolist())) == [3 * span, 3 * span + 1]
    some = np.array(
        [sample_frames("umt_random", 6, 4, np.random.default_rng(i)) for i in range(99)]
    )
    assert (np.diff(some) > 0).all()
    assert set(some.ravel().tolist()) == set(range(6))


def test_shuffled_frames_are_those_of_uniform_in_any_order():
    seen = [sample_frames("shuffled", 12, 4, np.random.default_rng(i)).tolist() for i in range(99)]
    assert {tuple(sorted(one)) for one in seen} == {tuple(sample_frames("uniform", 12, 4, RNG))}
    assert len(set(map(tuple, seen))) > 12


def test_decoding_gives_the_pixels_of_a_jpeg():
    grey = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4)
    file = io.BytesIO()
    grey.save(file, "JPEG", quality=100)
    pixels = decode_jpeg(file.getvalue())
    assert (pixels.shape, pixels.dtype) == ((8, 8, 3), np.uint8)
    np.testing.assert_allclose(pixels[..., 0], np.asarray(grey), atol=3)


@pytest.mark.parametrize("rule", ["uniform", "repeat", "random_segment"])
def test_reading_fills_up_and_masks(prepared, rule):
    for video, stored in enumerate(STORED):
        frames, mask = FrameReader(prepared, 6, rule)(video, place=3)
        assert (frames.shape, frames.dtype) == ((6, 32, 32, 3), np.uint8)
        real = 6 if rule == "repeat" else min(stored, 6)
        assert mask.tolist() == [True] * real + [False] * (6 - real)
        assert not frames[real:].any()
        means = frames[:real].mean(axis=(1, 2, 3))
        assert (np.diff(means) > -1).all()  # the files become brighter
        if rule == "uniform":
            assert (np.diff(means) > 2).all()  # and no frame comes twice


def test_what_is_drawn_depends_on_the_place_alone(prepared):
    reading = FrameReader(prepared, 2, "random_segment", seed=5)
    at = [reading(0, place)[0] for place in range(12)]
    assert len({frames.tobytes() for frames in at}) > 1
    other = pickle.loads(pickle.dumps(FrameReader(prepared, 2, "random_segment", seed=5)))
    for place in reversed(range(12)):
        np.testing.assert_array_equal(other(0, place)[0], at[place])
    again = [FrameReader(prepared, 2, "random_segment", seed=6)(0, place)[0] for place in range(12)]
    assert any((a != b).any() for a, b in zip(at, again, strict=True))


def test_training_rows(source, prepared):
    assert len(source) == STEPS * BATCH
    tokenizer = Tokenizer(9)
    for place in (0, 5, STEPS * BATCH - 1):
        row = source[place]
        pair = source.order.get_batch(place // BATCH)[place % BATCH]
        video = int(source.order.pairs.video[pair])
        text = tokenizer.decode(row["ids"])
        assert text in prepared.captions[video]
        assert row["text_mask"].sum() == len(text.split()) + 2
        frames, mask = source.reader(video, place)
        np.testing.assert_array_equal(row["frames"], frames)
        np.testing.assert_array_equal(row["frame_mask"], mask)
        assert (row["place"], row["place"].dtype) == (place, np.int32)
        assert (row["video"], row["video"].dtype) == (video, np.int32)


@pytest.fixture(scope="module")
def expected(source):
    """Every batch, row by row."""
    rows = [source[place] for place in range(len(source))]
    steps = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    return [{name: np.stack([row[name] for row in step]) for name in rows[0]} for step in steps]


@pytest.mark.parametrize("first", [0, 1, 7, STEPS - 1, STEPS])
def test_going_on_is_as_if_one_had_not_stopped(source, expected, first):
    assert_same(rows_of(source, first=first), expected[first:])


def test_worker_processes_read_the_same_and_end(source, expected):
    with read_batches(source, BATCH, first=2, workers=2) as reader:
        assert_same([next(reader) for _ in range(7)], expected[2:9])
        assert len(multiprocessing.active_children()) == 2
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("first", [0, 5])
def test_processes_share_a_batch(source, expected, first):
    halves = [rows_of(source, first=first, process=p, processes=2) for p in range(2)]
    joined = [
        {name: np.concatenate([left[name], right[name]]) for name in left}
        for left, right in zip(*halves, strict=True)
    ]
    assert_same(joined, expected[first:])


@pytest.mark.parametrize("size", [1, 4, 10, 16])
def test_videos_are_filled_up_to_whole_batches(prepared, size):
    reading = FrameReader(prepared, 3, "uniform")
    found = rows_of(VideoRows(reading, size), size)
    number = np.concatenate([rows["video"] for rows in found])
    filled = -len(prepared) % size
    assert number.tolist() == [*range(len(prepared)), *[-1] * filled]
    assert {len(rows["video"]) for rows in found} == {size}
    frames = np.concatenate([rows["frames"] for rows in found])
    for video in range(len(prepared)):
        np.testing.assert_array_equal(frames[video], reading(video, 0)[0])


def test_a_whole_training_reads_each_caption_once_an_epoch(prepared):
    pairs = make_pairs(prepared.captions, prepared.groups)
    order = Order(pairs, batch_size=BATCH, kind="shuffle", seed=0)
    reading = FrameReader(prepared, 2, "uniform")
    source = TrainingRows(order, reading, Tokenizer(9), 2 * order.steps_of_epoch)
    ids = [tuple(row.tolist()) for rows in rows_of(source) for row in rows["ids"]]
    assert len(ids) == 2 * len(pairs)
    assert {ids.count(text) for text in ids} == {2}
