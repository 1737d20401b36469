"""Windows that score well become moments: merged, filtered, named, and called sure or not."""

import concurrent.futures
import os
import re
import tempfile
import unittest.mock
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tempme_jax.mapped import map_arrays
from tempme_jax.search.query.moments import Spans, merge_windows
from tempme_jax.search.query.same import OwnPart
from tempme_jax.search.query.searcher import Searcher
from tempme_jax.search.store import sidefile, sidewriter
from tempme_jax.search.store.rows import FileRow, Near, Vectors, WindowRow

WIDTH = 64
QUERY = np.eye(WIDTH, dtype=np.float32)[0]


def vector_of(score, rest=1):
    """A unit vector with this score for `QUERY`; for others, something along axis `rest`."""
    vector = np.zeros(WIDTH, np.float32)
    vector[0], vector[rest] = score, np.sqrt(1 - score**2)
    return vector


class Memory:
    """A store in memory that finds windows by comparing with every one."""

    def __init__(self, windows, texts=None, large=False):
        self.windows, self.is_large = windows, large
        texts = np.zeros((20, WIDTH)) if texts is None else texts
        self.unrelated = ([""] * len(texts), np.asarray(texts, np.float32))
        self.asked = []

    def read_vectors(self):
        windows = sorted(self.windows, key=lambda row: row.id)
        names = sorted({row.content for row in windows})
        return Vectors(
            ids=[row.id for row in windows],
            contents=np.array([names.index(row.content) for row in windows], np.int32),
            names=names,
            starts=np.array([row.start for row in windows], np.float32),
            ends=np.array([row.end for row in windows], np.float32),
            matrix=np.array([row.vector for row in windows], np.float32).reshape(-1, WIDTH),
        )

    def read_checksums(self):
        return {}

    def count_windows(self):
        return len(self.windows)

    def find_nearest(self, vector, count, contents=None):
        self.asked.append((count, contents))
        rows = [row for row in self.windows if contents is None or row.content in contents]
        found = [Near(*row[:4], float(row.vector @ vector)) for row in rows]
        return sorted(found, key=lambda near: -near.score)[:count]

    def find_nearest_many(self, vectors, count):
        return [self.find_nearest(vector, count) for vector in vectors]

    uri, dimensions, has_frames, header = "memory", WIDTH, False, {}

    def sort_windows(self):
        found = self.read_vectors()
        ids = [row.id for row in self.windows]
        return found, np.array([found.ids.index(name) for name in ids], np.int64)

    def scan_vectors(self):
        for row in self.windows:
            yield [row.id], row.vector[None].astype(np.float32)

    def read_window(self, window_id):
        return next((row for row in self.windows if row.id == window_id), None)


def write_coded(memory, files):
    """The side file of a store in memory, with coded vectors."""
    with (
        tempfile.TemporaryDirectory() as folder,
        unittest.mock.patch.object(sidewriter, "EXACT_WINDOWS", 0),
    ):
        path = Path(folder) / sidefile.NAME
        others = {name: sidewriter.pack([]) for name in ("files", "texts")}
        metadata = {"header": "{}", "stamp": ""}
        sidewriter.write_arrays(memory, files, path, others, metadata)
        return sidefile.SideFile(folder, *map_arrays(path))


def video(content, scores, *, stride=6.0, length=12.0, rest=1):
    """The windows of a content with these scores."""
    return [
        WindowRow(
            f"{content}-{i:05d}", content, i * stride, i * stride + length, vector_of(s, rest), b""
        )
        for i, s in enumerate(scores)
    ]


def file(path, content, windows=1, seconds=60.0, reason=""):
    name = path.encode()
    return FileRow(name.hex(), "/v", name, 1, 1, content, seconds, windows, reason)


def searcher_of(windows, files=None, texts=None, large=False):
    """By default each content is a file of its name; `large` may be "coded", for a side file."""
    count = {name: sum(w.content == name for w in windows) for name in {w.content for w in windows}}
    if files is None:
        files = [file(f"{name}.mp4", name) for name in count]
    files = [row._replace(windows=count.get(row.content, 0)) for row in files]
    paths = {row.id: Path("/v") / os.fsdecode(row.path) for row in files}
    memory = Memory(windows, texts, large)
    return Searcher(write_coded(memory, files) if large == "coded" else memory, files, paths)


def spans_of(results):
    return [(moment.file.stem, moment.start, moment.end) for moment in results.moments]


every_way = pytest.mark.parametrize("large", [False, True, "coded"])


@every_way
def test_a_static_camera_of_three_hours_is_one_moment(large):
    scores = 0.3 + 0.004 * np.sin(np.arange(1799.0) * 7)
    scores[1000] = 0.31
    windows = video("aa", scores) + video("bb", [0.1])
    found = searcher_of(windows, large=large).search(QUERY, k=5)
    assert spans_of(found) == [("aa", 0, 10800), ("bb", 0, 12)]
    assert found.moments[0].at == 6000
    assert found.moments[0].window == "aa-01000"
    assert found.moments[0].score == pytest.approx(0.31)
    assert found.searched == 1800


@every_way
def test_two_events_are_two_moments_and_neighbours_are_none(large):
    scores = np.full(200, 0.1)
    scores[[20, 120]] = 0.4, 0.38  # ten minutes apart
    scores[[19, 21, 119, 121]] = 0.3  # these show half of it
    found = searcher_of(video("aa", scores), large=large).search(QUERY, k=2)
    assert spans_of(found) == [("aa", 120, 132), ("aa", 720, 732)]
    assert [moment.at for moment in found.moments] == [120, 720]


def test_an_event_of_many_windows():
    """Those about as good make it longer, also over a worse one between them."""
    found = searcher_of(video("aa", [0.1, 0.39, 0.3, 0.4, 0.385, 0.3, 0.1, 0.1])).search(QUERY, k=1)
    assert spans_of(found) == [("aa", 6, 36)]
    assert found.moments[0].at == 18


def test_windows_that_touch_are_one_moment():
    scores = [0.4, 0.39, 0.1, 0.39]
    found = searcher_of(video("aa", scores, stride=12.0)).search(QUERY)
    assert spans_of(found) == [("aa", 0, 24), ("aa", 36, 48), ("aa", 24, 36)]


spans = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12), st.integers(1, 4)), max_size=25)


@st.composite
def windows_with_scores(draw):
    rows = sorted((c, s, s + length) for c, s, length in draw(spans))
    values = st.sampled_from([-np.inf, 0.0, 0.1, 0.25, 0.5, 0.6, 0.7, 1.0])
    scores = draw(st.lists(values, min_size=len(rows), max_size=len(rows)))
    contents, starts, ends = np.array(rows, np.int64).reshape(-1, 3).T
    return Spans(contents, starts.astype(float), ends.astype(float)), np.array(scores)


def by_definition(spans, scores, margin):
    """All moments, as the rule says it, window by window."""
    left = {row for row in range(len(scores)) if scores[row] > -np.inf}
    contents, starts, ends = (part.tolist() for part in spans)
    while left:
        best = min(left, key=lambda row: (-scores[row], row))
        own = {row for row in left if contents[row] == contents[best]}
        near, members = {row for row in own if scores[row] >= scores[best] - margin}, {best}
        while joined := {
            row
            for row in near - members
            if any(starts[row] <= ends[one] and ends[row] >= starts[one] for one in members)
        }:
            members |= joined
        start, end = min(starts[row] for row in members), max(ends[row] for row in members)
        yield best, start, end, scores[best]
        left -= members | {row for row in own if starts[row] < end and ends[row] > start}


@settings(deadline=None)
@given(windows_with_scores(), st.sampled_from([0.0, 0.1, 0.3, 2.0]), st.integers(1, 30))
def test_merging_is_as_defined(rows, margin, count):
    spans, scores = rows
    before = scores.copy()
    found = merge_windows(spans, scores, count, margin)
    assert [tuple(one) for one in found] == list(by_definition(spans, scores, margin))[:count]
    np.testing.assert_array_equal(scores, before)
    for place, one in enumerate(found):  # moments of a content never overlap
        for other in found[:place]:
            same = spans.contents[one.row] == spans.contents[other.row]
            assert not same or one.start >= other.end or one.end <= other.start


def test_merging_goes_on_beyond_the_windows_that_were_looked_at_first(monkeypatch):
    monkeypatch.setattr("tempme_jax.search.query.moments.WINDOWS_A_MOMENT", 1)
    monkeypatch.setattr("tempme_jax.search.query.moments.WINDOWS_AT_LEAST", 1)
    spans = Spans(
        np.repeat([0, 1], 50), np.tile(np.arange(50.0), 2), np.tile(np.arange(50.0) + 2, 2)
    )
    found = merge_windows(spans, np.repeat([0.5, 0.4], 50), 2, 0.01)
    assert [(one.start, one.end, one.score) for one in found] == [(0, 51, 0.5), (0, 51, 0.4)]


@every_way
def test_at_most_so_many_moments_of_a_video(large):
    """Others take their place; of a video that is searched alone, all are found."""
    far = [row for name in ("aa", "bb") for row in video(name, [0.5] * 5, stride=50.0)]
    searcher = searcher_of(far + video("cc", [0.1]), large=large)
    found = searcher.search(QUERY, k=5, per_video=2)
    assert [moment.file.stem for moment in found.moments] == ["aa", "aa", "bb", "bb", "cc"]
    assert len(searcher.search(QUERY, k=9, per_video=1).moments) == 3
    alone = searcher.search(QUERY, k=9, per_video=1, folder="/v/bb.mp4")
    assert [moment.start for moment in alone.moments] == [0, 50, 100, 150, 200]
    with pytest.raises(ValueError, match="per_video=0"):
        searcher.search(QUERY, per_video=0)


@every_way
def test_a_line_of_scores_of_each_video(large):
    windows = video("aa", [0.1, 0.3, 0.2], stride=12.0) + video("bb", [0.4] * 300)
    files = [file("a.mp4", "aa", seconds=48), file("b.mp4", "bb", seconds=1800)]
    found = searcher_of(windows, files, large=large).search(QUERY, k=3, lines=True)
    long, short = found.lines
    assert short.file_id == b"a.mp4".hex() and short.seconds == 48
    assert short.scores[9:] == (None,) * 3  # no window is there
    assert short.scores[:9] == pytest.approx([0.1] * 3 + [0.3] * 3 + [0.2] * 3, abs=0.002)
    assert (long.seconds, len(long.scores)) == (1806, 120)
    assert long.scores == pytest.approx([0.4] * 120, abs=0.002)
    assert found.levels == pytest.approx((0, 0, 0), abs=1e-6)  # the unrelated texts score 0
    assert searcher_of(windows, files, large=large).search(QUERY).lines == ()


@every_way
def test_what_is_asked_with_is_the_same(large):
    windows = video("aa", [0.5, 0.4, 0.1], stride=12.0) + video("bb", [1.0], rest=2)
    searcher = searcher_of(windows, large=large)
    found = searcher.search(QUERY, kind="clip", own=OwnPart("aa", 12.0, 20.0))
    verdicts = {moment.window: moment.verdict for moment in found.moments}
    assert verdicts == {
        "bb-00000": "same", "aa-00000": "possible", "aa-00001": "same", "aa-00002": "possible"
    }  # fmt: skip
    assert found.confident and found.message == ""


@every_way
def test_what_is_asked_with_comes_first_however_it_scores(large):
    windows = video("aa", [0.2, 0.1], stride=12.0) + video("bb", [0.9] * 9, stride=12.0, rest=2)
    searcher = searcher_of(windows, large=large)
    own = OwnPart("aa", 0.0, np.inf)
    found = searcher.search(QUERY, kind="clip", own=own, k=2, per_video=1)
    assert [one.window[:2] for one in found.moments] == ["aa", "bb"]
    assert found.verdict == "same" and found.confident
    found = searcher.search(QUERY, kind="clip", own=own, k=9)
    assert [one.window for one in found.moments[:2]] == ["aa-00000", "aa-00001"]
    assert len({one.window for one in found.moments}) == len(found.moments)


@every_way
def test_copies_are_one_moment_of_the_first_file(large):
    windows = video("aa", [0.3]) + video("bb", [0.2])
    files = [file("z.mp4", "aa"), file("b/x.mp4", "aa"), file("a.mp4", "bb"), file("c.mp4", "aa")]
    searcher = searcher_of(windows, files, large=large)
    first, second = searcher.search(QUERY).moments
    assert first.file == Path("/v/b/x.mp4")
    assert first.copies == (Path("/v/c.mp4"), Path("/v/z.mp4"))
    assert first.file_id == b"b/x.mp4".hex()
    assert (second.file, second.copies) == (Path("/v/a.mp4"), ())
    assert searcher.find_window("aa-00000") == (
        (b"b/x.mp4".hex(), b"c.mp4".hex(), b"z.mp4".hex()),
        0,
        12,
    )
    assert searcher.find_window("aa-00001") is None
    assert searcher.files[b"c.mp4".hex()].path == b"c.mp4"


@every_way
def test_contents_without_a_file_are_not_there(large):
    windows = video("aa", [0.9] * 3) + video("bb", [0.8]) + video("cc", [0.2])
    files = [file("a.mp4", "aa", reason="broken"), file("c.mp4", "cc")]
    searcher = searcher_of(windows, files, large=large)
    found = searcher.search(QUERY)
    assert spans_of(found) == [("c", 0, 12)] and found.searched == 1
    assert searcher.find_window("bb-00000") is None
    assert searcher.measure_unrelated("text").scores.tolist() == [0] * 20


FILES = [
    file("cats/1.mp4", "aa", seconds=10),
    file("cats/old/2.mp4", "bb", seconds=20),
    file("cats2/3.mp4", "cc", seconds=30),
    file("cats.mp4", "dd", seconds=40),
    file("dogs/4.mp4", "aa", seconds=10),
]


@every_way
@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["cats/1.mp4", "cats/old/2.mp4", "cats2/3.mp4", "cats.mp4"]),
        ({"folder": "/v"}, ["cats/1.mp4", "cats/old/2.mp4", "cats2/3.mp4", "cats.mp4"]),
        ({"folder": "/"}, ["cats/1.mp4", "cats/old/2.mp4", "cats2/3.mp4", "cats.mp4"]),
        ({"folder": "/v/cats"}, ["cats/1.mp4", "cats/old/2.mp4"]),
        ({"folder": Path("/v/cats/")}, ["cats/1.mp4", "cats/old/2.mp4"]),
        ({"folder": "/v/dogs/../dogs/"}, ["dogs/4.mp4"]),
        ({"min_seconds": 20}, ["cats/old/2.mp4", "cats2/3.mp4", "cats.mp4"]),
        ({"max_seconds": 20.0}, ["cats/1.mp4", "cats/old/2.mp4"]),
        ({"min_seconds": 15, "max_seconds": 35, "folder": "/v/cats"}, ["cats/old/2.mp4"]),
        ({"exclude_content": "aa"}, ["cats/old/2.mp4", "cats2/3.mp4", "cats.mp4"]),
        ({"exclude_content": "ee", "folder": "/v/cats2"}, ["cats2/3.mp4"]),
    ],
)
def test_filters(large, filters, expected):
    windows = [row for name in ("aa", "bb", "cc", "dd") for row in video(name, [0.3])]
    windows = [row._replace(vector=vector_of(0.5 - 0.1 * i)) for i, row in enumerate(windows)]
    found = searcher_of(windows, FILES, large=large).search(QUERY, **filters)
    assert [str(moment.file.relative_to("/v")) for moment in found.moments] == expected
    assert found.searched == len(expected)


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"folder": "/v/cat"}, "nothing to search: the index has no video in /v/cat"),
        ({"folder": "/v/\0"}, "nothing to search: the index has no video in /v/\0"),
        (
            {"min_seconds": 15, "max_seconds": 12.5},
            "nothing to search: the index has no video of 15 s or more of 12.5 s or less",
        ),
        (
            {"folder": "/v/dogs", "exclude_content": "aa"},
            "nothing to search: the index has no other video in /v/dogs",
        ),
        (
            {"min_seconds": float("nan")},
            "nothing to search: the index has no video of nan s or more",
        ),
    ],
)
def test_filters_that_leave_nothing(filters, message):
    found = searcher_of(video("aa", [0.3]), FILES).search(QUERY, query="cat", **filters)
    assert (found.moments, found.confident, found.searched) == ((), False, 0)
    assert (found.query, found.message) == ("cat", message)


@every_way
@pytest.mark.parametrize("kind", ["text", "video"])
def test_an_empty_index(kind, large):
    searcher = searcher_of([], [], large=large)
    found = searcher.search(QUERY, kind=kind)
    assert found.message == "nothing to search: the index has no video"
    assert len(searcher.measure_unrelated("text")) == len(searcher.measure_unrelated("video")) == 0
    assert searcher.find_window("aa-00000") is None


def test_windows_that_are_missing():
    found = searcher_of([], [file("a.mp4", "aa")]).search(QUERY)
    assert found.message == "nothing to search: the index has no video"
    rows = [file("a.mp4", "aa", windows=3)]
    found = Searcher(Memory([]), rows, {rows[0].id: Path("/v/a.mp4")}).search(QUERY)
    assert found.message == "nothing to search: the index has no video"
    assert found.notice.startswith("1 video cannot be found, as the index is damaged; `tempme")


def test_equal_scores_come_by_path_then_start():
    far = video("ff", [0.3, 0.3], stride=40.0) + video("ee", [0.3]) + video("aa", [0.4])
    files = [file("b.mp4", "ff"), file("a.mp4", "ee"), file("c.mp4", "aa")]
    found = searcher_of(far, files).search(QUERY)
    assert spans_of(found) == [("c", 0, 12), ("a", 0, 12), ("b", 0, 12), ("b", 40, 52)]
    assert spans_of(searcher_of(far, files).search(QUERY, k=2)) == [("c", 0, 12), ("a", 0, 12)]


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_the_order_of_rows_changes_nothing_and_memory_finds_what_the_database_does(data):
    values = st.lists(st.sampled_from([0.1, 0.2, 0.21, 0.25, 0.3, 0.31]), min_size=1, max_size=12)
    windows = [row for name in ("aa", "bb", "cc") for row in video(name, data.draw(values))]
    files = [file("z.mp4", "aa"), file("y.mp4", "bb"), file("x.mp4", "cc"), file("w.mp4", "aa")]
    k = data.draw(st.integers(1, 6))
    expected = searcher_of(windows, files).search(QUERY, k=k)
    windows, files = data.draw(st.permutations(windows)), data.draw(st.permutations(files))
    for large in (False, True, "coded"):
        found = searcher_of(windows, files, large=large).search(QUERY, k=k)
        assert [one.window for one in found.moments] == [one.window for one in expected.moments]
        assert spans_of(found) == spans_of(expected)


def test_a_large_index_is_asked_again_until_there_are_enough():
    """The first windows are all of one scene."""
    windows = video("aa", [0.4] * 300) + video("bb", [0.3]) + video("cc", [0.2])
    searcher = searcher_of(windows, large=True)
    found = searcher.search(QUERY, k=2)
    assert spans_of(found) == [("aa", 0, 1806), ("bb", 0, 12)]
    counts = [count for count, _ in searcher._candidates.store.asked[20:]]  # after 20 texts
    assert counts == [200, 300, 800, 300]


def test_contents_that_are_too_long_are_not_fetched_whole(monkeypatch):
    monkeypatch.setattr("tempme_jax.search.query.candidates.WINDOWS_AT_MOST", 10)
    windows = video("aa", [0.4] * 11) + video("bb", [0.3] * 4) + video("cc", [0.2] * 9)
    searcher = searcher_of(windows, large=True)
    assert spans_of(searcher.search(QUERY)) == [("aa", 0, 72), ("bb", 0, 30), ("cc", 0, 60)]
    asked = searcher._candidates.store.asked[20:]  # after 20 texts
    assert asked == [(200, None), (4, ["bb"])]


def calibrated(large=False):
    """Ten videos, and 99 texts of which the best scores are 0.01, 0.02, ... 0.99."""
    # What the texts look for is the last window's; the query's score is along the first axis.
    windows = [row for i in range(10) for row in video(f"a{i}", [0.02 * (i + 1)] * 3, rest=2 + i)]
    target = np.eye(WIDTH, dtype=np.float32)[40]
    windows += [WindowRow("bb-00000", "bb", 0, 12, target, b"")]
    texts = [np.zeros(WIDTH) for _ in range(99)]
    for i, text in enumerate(texts):
        text[40] = 0.01 * (i + 1)
    return searcher_of(windows, texts=texts, large=large)


@every_way
def test_percentiles_of_texts(large):
    searcher = calibrated(large)
    found = searcher.search(QUERY, k=3)
    assert found.moments[0].score == pytest.approx(0.2)
    # Below 0.195 are 19 of 99; whether 0.2 is below 0.2 is a matter of rounding.
    assert found.moments[0].percentile == pytest.approx(100 * 19.5 / 99, abs=0.51)
    assert (found.confident, found.verdict) == (False, "weak")
    expected = "the best moment scores higher than only (19|20) % of unrelated sentences; .*"
    assert re.fullmatch(f"weak match: {expected}", found.message)


@every_way
def test_a_confident_match(large):
    searcher = calibrated(large)
    query = np.eye(WIDTH, dtype=np.float32)[40] * np.float32(0.985)
    found = searcher.search(query)
    assert found.moments[0].percentile == pytest.approx(100 * 98 / 99)
    assert (found.confident, found.message, found.verdict) == (True, "", "strong")
    below = searcher.search(query * np.float32(0.98))
    assert (below.confident, below.verdict) == (False, "possible")
    assert below.message.startswith("possible match: the best moment scores higher than 96 % of")


@every_way
def test_windows_are_compared_with_other_videos(large):
    """Each of 30 videos is the same throughout, and has 0.25 in common with all others."""
    windows = [row for i in range(30) for row in video(f"{i:02x}", [0.5] * 2, rest=i + 1)]
    searcher = searcher_of(windows, large=large)
    unrelated = searcher.measure_unrelated("video")
    assert len(unrelated) == 60
    np.testing.assert_allclose(unrelated.scores, 0.25, atol=1e-6)
    found = searcher.search(vector_of(0.5, 3), kind="video", k=1)
    assert found.confident and found.moments[0].file.stem == "02"
    other = searcher.search(vector_of(0.4, 50), kind="video")
    assert other.message == (
        "weak match: the best moment scores higher than only 0 % of windows in other videos; "
        "nothing here looks much like the clip"
    )


@every_way
def test_one_video_has_nothing_to_compare_with(large):
    searcher = searcher_of(video("aa", [0.5] * 40), large=large)
    found = searcher.search(QUERY, kind="video")
    assert np.isnan(found.moments[0].percentile) and found.verdict == "possible"
    assert found.message == (
        "how well this matches cannot be told: that takes at least 20 windows in other videos to "
        "compare with, and the index has 0"
    )
    assert searcher.search(QUERY).confident  # unrelated texts score 0


@every_way
def test_more_like_a_window_is_in_other_videos(large):
    windows = video("aa", [0.5, 0.6]) + video("bb", [0.55]) + video("cc", [0.1], rest=2)
    searcher = searcher_of(windows, large=large)
    found = searcher.search_similar("aa-00001", k=5)
    assert [moment.window for moment in found.moments] == ["bb-00000", "cc-00000"]
    assert found.moments[0].score == pytest.approx(vector_of(0.6) @ vector_of(0.55))
    assert searcher.search_similar("aa-00001", folder="/v/x").moments == ()
    for name in ("aa-00007", "aa", "", "xx-00000", "aa-'"):
        with pytest.raises(KeyError):
            searcher.search_similar(name)


def test_wrong_questions():
    searcher = searcher_of(video("aa", [0.5]))
    with pytest.raises(ValueError, match="k=0 must be a whole number of 1 or more"):
        searcher.search(QUERY, k=0)
    with pytest.raises(ValueError, match="unknown kind of query: 'image'.*picture, similar"):
        searcher.search(QUERY, kind="image")
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        searcher.search(QUERY[:3])


def test_a_damaged_vector_hides_no_other():
    windows = video("aa", [0.5]) + video("bb", [0.4])
    windows[0].vector[:] = np.nan
    found = searcher_of(windows).search(QUERY)
    assert spans_of(found) == [("bb", 0, 12)]


def test_many_threads_find_the_same():
    searcher = calibrated()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: searcher.search(QUERY), range(32)))
    assert all(one == found[0] for one in found)
