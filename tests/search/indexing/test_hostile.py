"""Of 120 hostile files 90 are indexed, 30 listed with a reason, and nothing beside is opened."""

import collections
import contextlib
import ctypes
import json
import multiprocessing
import os

import hostile_corpus
import numpy as np
import pytest
import toy_index

import tempme_jax
from tempme_jax.search.index import VideoIndex

# Of inotify.
IN_ACCESS, IN_OPEN = 0x1, 0x20


@contextlib.contextmanager
def watch(path):
    """A function that tells whether a file was opened or read since it was last asked."""
    libc = ctypes.CDLL(None, use_errno=True)
    queue = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert queue >= 0, os.strerror(ctypes.get_errno())
    try:
        assert libc.inotify_add_watch(queue, os.fsencode(path), IN_ACCESS | IN_OPEN) >= 0

        def was_opened():
            try:
                return bool(os.read(queue, 4096))
            except BlockingIOError:
                return False

        yield was_opened
    finally:
        os.close(queue)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return hostile_corpus.write(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def indexed(corpus):
    """The index, what the run reports, and whether the file beside the folder was opened."""
    sizes = toy_index.SIZES | {"image_size": 32, "patch": 16}
    model = tempme_jax.create(method="clip", num_frames=4, **sizes)
    index = VideoIndex(corpus.folder, model=model, fps=0.5)
    with watch(corpus.outside) as was_opened:
        report = index.add(corpus.folder, workers=2, quiet=True)
        touched = was_opened()
        corpus.outside.read_bytes()
        assert was_opened()  # else it would not have been seen either
    return index, report, touched


def test_usable_files_are_indexed(corpus, indexed):
    index, report, _ = indexed
    rows = {row.path: row for row in index.store.read_files() if not row.reason}
    assert sorted(rows) == sorted(corpus.good)
    assert (len(rows), len({row.content for row in rows.values()})) == (90, 88)
    assert (report.found, report.embedded, report.left, report.stopped) == (116, 90, 0, "")
    contents = collections.Counter(name.split("-")[0] for name in index.store.read_vectors().ids)
    assert contents == {row.content: row.windows for row in rows.values()}
    assert min(contents.values()) >= 1
    for copy, original in corpus.copies.items():
        assert rows[copy].content == rows[original].content


def test_unusable_ones_are_listed_with_the_right_reason(corpus, indexed):
    index, report, _ = indexed
    reasons = {failure.file: failure.reason for failure in report.failures}
    assert sorted([*reasons, *corpus.audio]) == sorted(corpus.bad)
    assert report.passed_over == {".mp4 (music or other audio)": 3}
    for file, reason in reasons.items():
        assert corpus.bad[file] in reason, file
    lines = (corpus.folder / ".tempme" / "failed.jsonl").read_text(encoding="utf-8").splitlines()
    listed = [json.loads(line) for line in lines]
    assert {os.fsencode(line["file"]): line["reason"] for line in listed} == reasons
    assert collections.Counter(line["stage"] for line in listed) == {
        "walk": 4, "open": 20, "scan": 1, "decode": 2,
    }  # fmt: skip


def test_nothing_outside_the_folder_is_opened(indexed):
    assert not indexed[2]


def test_the_run_leaves_nothing_behind(corpus, indexed):
    assert multiprocessing.active_children() == []
    assert {path.name for path in corpus.folder.parent.iterdir()} == {"videos", "outside.mp4"}


def test_a_second_run_has_nothing_to_do(corpus, indexed):
    index, first, _ = indexed
    report = index.add(corpus.folder, workers=1, quiet=True)
    assert (report.unchanged, report.embedded, report.known) == (90, 0, 0)
    assert report.failures == first.failures


def test_the_index_is_whole_and_searched(corpus, indexed):
    index, _, _ = indexed
    found = index.verify(repair=False, quiet=True)
    assert (found.is_clean, found.files, found.leftovers) == (True, 90, 0), found.summary
    results = index.search("a grey picture", k=200)
    paths = {moment.file for moment in results.moments}
    paths |= {copy for moment in results.moments for copy in moment.copies}
    assert {os.path.relpath(os.fsencode(path), os.fsencode(corpus.folder)) for path in paths} == {
        *corpus.good
    }
    assert all(np.isfinite(moment.score) for moment in results.moments)
