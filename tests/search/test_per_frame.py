"""An index that keeps vectors of frames: they follow their windows, and find the best second."""

import json
import math
import shutil
import types

import numpy as np
import pytest
import toy_index
from toy_index import FRAMES, list_windows, make_toy_index, write_films

from tempme_jax.late_interaction import pool_similarities
from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.header import make_header
from tempme_jax.search.index import VideoIndex
from tempme_jax.search.indexing import embedding
from tempme_jax.search.indexing.distributed import pack_row, unpack_row
from tempme_jax.search.indexing.embedding import EmbeddedVideo
from tempme_jax.search.query import late
from tempme_jax.search.query.late import LateSearch
from tempme_jax.search.query.results import convert_from_json
from tempme_jax.search.store import sidewriter
from tempme_jax.search.store.frame_codes import compare_frames, encode_window, find_changed
from tempme_jax.search.store.sidefile import NAME
from tempme_jax.search.store.store import Store
from tempme_jax.video.windows import Sampling

SOME = {"a.mp4": "1", "b.mp4": "2", "long.mp4": "long"}
QUERY = "a cat"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        toy_index.decode_here(patch)
        folder = write_films(tmp_path_factory.mktemp("per frame") / "videos", SOME)
        make_toy_index(folder, per_frame=True)
        return folder


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    toy_index.decode_here(monkeypatch)
    return shutil.copytree(made, tmp_path / "videos")


def open_index(folder, **options):
    return VideoIndex(folder, model=toy_index.make_model(), **options)


def list_frames(index):
    rows = list(index.store.scan())
    assert all(row.is_whole for row in rows)
    return {row.id: row.frames for row in rows}


def test_codes_are_near_the_vectors_and_tell_whose_they_are():
    rng = np.random.default_rng(0)
    vectors, query = rng.normal(size=(3, 2, 64)), rng.normal(size=64)
    weights = np.array([[1.0, 0.0], [0.5, 2.0], [1.0, 1.0]])
    ids = ["a", "b", "c"]
    rows = [encode_window(*each) for each in zip(ids, vectors, weights, strict=True)]
    table = np.frombuffer(b"".join(rows), np.uint8).reshape(3, -1).copy()
    found = compare_frames(query.astype(np.float32), table, 2)
    np.testing.assert_allclose(found.scores, vectors @ query, atol=0.2)
    np.testing.assert_array_equal(found.weights, weights)
    assert find_changed(ids, table) == []
    assert find_changed(["b", "a", "c"], table) == ["b", "a"]
    table[2, 9] ^= 1
    assert find_changed(ids, table) == ["c"]


def test_frames_stand_beside_vectors_that_are_as_without_them(made, tmp_path, monkeypatch):
    toy_index.decode_here(monkeypatch)
    index, usual = open_index(made), make_toy_index(write_films(tmp_path / "usual", SOME))
    with_frames, without = list_windows(index), list_windows(usual)
    assert with_frames.keys() == without.keys()
    for key, (start, end, vector, thumbnail) in without.items():
        other = with_frames[key]
        assert (start, end, thumbnail) == (*other[:2], other[3])
        found = np.frombuffer(other[2], np.float32)
        np.testing.assert_allclose(found, np.frombuffer(vector, np.float32), atol=1e-5)
    assert usual.store._windows.schema.names[-1] == "checksum"  # no column that it does not need
    assert "per_frame" not in usual.header and usual.header["format"] == 2
    assert index.header["format"] == 3 and index.header["per_frame"]["frames"] == FRAMES
    with pytest.raises(VideoIndexError, match="keeps no vectors of frames.*--rebuild --per-frame"):
        usual.search(QUERY, tau=0.1)
    found = usual.search(QUERY)
    assert found.tau is None and found.moments[0].best is None and not found.moments[0].curve
    with pytest.raises(VideoIndexError, match="embedding all of its videos again.*per-frame`"):
        VideoIndex(tmp_path / "usual", per_frame=True)


def test_scores_are_those_of_the_frames_and_with_infinity_of_the_mean(made):
    index = open_index(made)
    query = index.model.embed_text([QUERY])[0]
    rows = {row.id: row for row in index.store.scan()}
    cosines = {key: float(row.vector @ query) for key, row in rows.items()}
    for tau in (math.inf, 0.01):
        results = index.search(QUERY, tau=tau, per_video=1)
        assert results.tau == tau and len(results.moments) == 3
        for moment in results.moments:
            table = np.frombuffer(rows[moment.window].frames, np.uint8)[None]
            scores, weights = compare_frames(query, table, FRAMES)
            expected = float(pool_similarities(scores, weights, tau)[0][0])
            assert moment.score == pytest.approx(max(expected, cosines[moment.window]), abs=1e-5)
            if tau == math.inf:
                assert moment.score == pytest.approx(cosines[moment.window], abs=0.01)
            seconds, values = zip(*moment.curve, strict=True)
            assert moment.best == moment.at == pytest.approx(seconds[int(np.argmax(values))])
            row = rows[moment.window]
            assert len(seconds) == FRAMES and row.start <= seconds[0] < seconds[-1] <= row.end
        again = convert_from_json(json.loads(json.dumps(results.as_dict())))
        assert again.moments == results.moments
    line = index.search(QUERY, lines=True, folder=made / "long.mp4").lines[0]
    assert len(line.scores) == 112  # more than the 28 of seven windows
    with pytest.MonkeyPatch.context() as patch:  # a long video leaves room for short ones behind it
        patch.setattr(late, "WINDOWS_DRAWN", 2)
        lines = {one.file_id: one.scores for one in index.search(QUERY, lines=True).lines}
    names = {row.id: row.path for row in index.store.read_files()}
    counts = {names[key].decode(): len(scores) for key, scores in lines.items()}
    assert counts["long.mp4"] == 28 and counts["a.mp4"] > 4 < counts["b.mp4"], counts


def test_seconds_are_when_the_frames_are_on_screen(made):
    late = open_index(made)._state.get_searcher()._late
    assert isinstance(late, LateSearch)
    assert late._find_seconds(2.0, 6.0) == [2.5, 3.5, 4.5, 5.5]
    assert late._find_seconds(12.0, 15.3) == [12.5, 13.5, 14.5, 15.3]
    assert late._find_seconds(0.0, 2.0) == [0.25, 0.75, 1.25, 1.75]
    # The last frame of a video may be on screen at its very end, which no rounding may pass.
    [moment] = open_index(made).search(QUERY, folder=made / "long.mp4", k=1).moments
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(late, "_find_window", lambda _: (12.0, 15.3456))
        found = late._add_second(moment, np.arange(4.0), np.ones(4))
    assert found.best == found.curve[-1][0] == 15.3456


def test_the_side_file_and_the_tables_find_the_same(folder, monkeypatch):
    index = open_index(folder)
    by_side = index.search(QUERY, lines=True)
    (folder / ".tempme" / NAME).unlink()
    by_tables = open_index(folder).search(QUERY, lines=True)
    assert by_tables.as_dict() == by_side.as_dict()
    monkeypatch.setattr(sidewriter, "EXACT_WINDOWS", 0)
    index._state.finish_writing(anew=True)
    coded = open_index(folder)
    assert coded._state.reader.is_large
    found = coded.search(QUERY, lines=True)
    assert [(one.window, one.best, one.verdict) for one in found.moments] == [
        (one.window, one.best, one.verdict) for one in by_side.moments
    ]


def test_other_queries_are_ranked_by_the_mean_and_find_a_second(made):
    index = open_index(made)
    moment = index.search(QUERY).moments[0]
    found = index.similar(moment.window)
    assert found.tau is None and all(one.best is not None for one in found.moments)
    assert all(one.score <= 1 + 1e-5 for one in found.moments)
    with pytest.raises(TypeError, match="similar has no argument 'tau'"):
        index.similar(moment.window, tau=0.1)


@pytest.mark.parametrize("tau", [math.nan, 0, -1.0, "hot", True])
def test_a_temperature_is_a_number_above_0(made, tau):
    with pytest.raises(ValueError, match="must be a number above 0"):
        open_index(made).search(QUERY, tau=tau)


def test_a_model_without_vectors_of_frames_is_refused():
    model = types.SimpleNamespace(frame_problem="method x keeps none; methods that keep them: y")
    with pytest.raises(VideoIndexError, match="keeps none; methods that keep them: y; leave --per"):
        make_header(model, {}, Sampling(frames=FRAMES), per_frame=True)  # pyright: ignore[reportArgumentType]


def test_runs_resume_and_verify_with_frames(folder, made, monkeypatch):
    expected = list_frames(open_index(made))
    shutil.rmtree(folder / ".tempme")
    encode, left = embedding.encode_each_frame, iter(range(3))

    def encode_some(*arguments):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return encode(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(embedding, "encode_each_frame", encode_some)
        told = open_index(folder, per_frame=True).add(folder, quiet=True)
    assert told.stopped == "Interrupted" and told.begun == 1
    index = open_index(folder)
    index.add(folder, quiet=True)
    assert list_frames(index) == expected
    assert index.verify(quiet=True).is_clean
    (folder / "a.mp4").unlink()
    index.add(folder, quiet=True)
    kept = list_frames(index)
    assert all(expected[key] == frames for key, frames in kept.items()) and len(kept) >= 8


def test_a_cluster_sends_the_frames():
    row = np.arange(2 + 2 * 2 + 2, dtype=np.float32)[None]
    video = EmbeddedVideo("a", 1.0, [(0.0, 1.0)], row, [b""], "ab")
    again = unpack_row(pack_row(video))
    assert isinstance(again, EmbeddedVideo)
    np.testing.assert_array_equal(again.vectors, row)


def flip_frames(path, frames):
    """Change one byte of what a file holds of a window's frames."""
    content = bytearray(path.read_bytes())
    content[content.index(frames) + len(frames) - 1] ^= 1
    path.write_bytes(content)


def test_damage_of_the_side_file_is_told_and_the_tables_are_read(folder):
    index = open_index(folder)
    moment = index.search(QUERY).moments[0]
    file = folder / ".tempme" / NAME
    flip_frames(file, list_frames(index)[moment.window])
    with pytest.raises(VideoIndexError, match="has changed since it was written.*Search again"):
        open_index(folder).search(QUERY)
    assert not file.exists()
    assert open_index(folder).search(QUERY).moments[0] == moment


def test_damage_of_the_tables_is_told_and_repaired(folder):
    index = open_index(folder)
    expected = list_frames(index)
    victim = index.search(QUERY).moments[0].window
    (folder / ".tempme" / NAME).unlink()
    files = (folder / ".tempme" / "windows.lance" / "data").iterdir()
    flip_frames(next(f for f in files if expected[victim] in f.read_bytes()), expected[victim])
    index = open_index(folder)
    with pytest.raises(VideoIndexError, match="1 window .* have changed.*--verify"):
        index.search(QUERY)
    assert index.verify(quiet=True).problems
    index.add(folder, quiet=True)
    assert list_frames(index) == expected


def test_a_server_searches_on_while_the_index_is_made_anew(folder):
    serving = open_index(folder)
    before = serving.search(QUERY)
    anew = open_index(folder, anew=True)
    anew.add(folder, quiet=True)  # without vectors of frames
    during = serving.search(QUERY)  # by what it has open
    assert during.moments == before.moments and during.tau
    serving.refresh()
    after = serving.search(QUERY)
    assert after.tau is None and after.moments[0].best is None
    assert isinstance(serving.store, Store) and not serving.store.has_frames
