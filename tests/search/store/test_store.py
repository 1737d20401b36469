"""An index keeps what it is given, whole, whatever becomes of the processes that write it."""

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.store.locking import lock_creation, lock_index
from tempme_jax.search.store.rows import make_window_id
from tempme_jax.search.store.store import FileRow, Store, WindowRow
from tempme_jax.search.store.tables import FORMAT

HEADER = {"model": {"weights": "abc"}, "sampling": {"fps": 0.1}}
DIMENSIONS = 8
PATH = b"caf\xe9/\xff.mp4"


def make_vectors(seed, *shape):
    """Random unit vectors."""
    vectors = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def create_store(folder, **options):
    return Store.create(folder, HEADER, ["a", "b"], make_vectors(0, 2, DIMENSIONS), **options)


def make_windows(content, count=3):
    """The windows of a content; the same each time."""
    vectors = make_vectors(int(content, 16), count, DIMENSIONS)
    return [
        WindowRow(
            make_window_id(content, i), content, i / 3, i / 3 + 1, vectors[i], b"\xff\xd8%d" % i
        )
        for i in range(count)
    ]


def make_file(key, content, count=3, **changes):
    row = FileRow(key, "/videos", PATH, 10**10, 1_700_000_000_123_456_789, content, 1.7, count)
    return row._replace(**changes)


def count_unindexed(store):
    statistics = store._windows.index_stats("vector_idx")
    assert statistics
    return statistics.num_unindexed_rows


def are_same(one, other):
    """Whether two windows are the same to the last bit."""
    return one[:4] == other[:4] and one.thumbnail == other.thumbnail and (
        one.vector.tobytes() == other.vector.tobytes()
    )  # fmt: skip


@pytest.fixture
def store(tmp_path):
    return create_store(tmp_path / "new" / "index")


def test_round_trip(store):
    failed = make_file("0b", "", 0, root="/a\udcff", reason="no \udcff video", stage="open")
    store.commit(
        make_windows("cc") + make_windows("ab12"),
        [make_file("0c", "ab12"), failed, make_file("0a", "cc")],
    )
    again = Store.open(store.uri)
    assert again.header == HEADER | {"format": FORMAT}
    texts, vectors = again.unrelated
    assert texts == ["a", "b"]
    np.testing.assert_array_equal(vectors, make_vectors(0, 2, DIMENSIONS))
    rows = again.read_files()
    assert rows == [
        make_file("0a", "cc"),
        failed._replace(reason="no ? video"),
        make_file("0c", "ab12"),
    ]
    assert type(rows[0].path) is bytes
    assert again.read_contents() == {"ab12": (3, 2 / 3 + 1), "cc": (3, 2 / 3 + 1)}
    for row in make_windows("cc") + make_windows("ab12"):
        assert are_same(again.read_window(row.id), row)
        assert again.read_thumbnail(row.id) == row.thumbnail
    assert again.read_window("cc-00003") is None
    assert again.read_thumbnail("dd-00000") is None
    assert again.count_windows() == 6


def test_an_empty_index(store):
    assert (store.read_files(), store.read_contents(), store.count_windows()) == ([], {}, 0)
    vectors = store.read_vectors()
    assert (vectors.ids, vectors.names) == ([], [])
    assert vectors.matrix.shape == (0, DIMENSIONS)
    assert store.find_nearest(make_vectors(1, DIMENSIONS), 5) == []
    assert list(store.scan()) == []
    store.commit([], [])
    store.tidy()


def test_vectors_are_in_the_same_order_however_they_were_stored(tmp_path):
    contents = ["ab", "ab1", "0f", "cc"]
    one, other = create_store(tmp_path / "one"), create_store(tmp_path / "other")
    for content in contents:
        one.commit(make_windows(content), [])
    other.commit(make_windows("cc") + make_windows("ab1")[::-1], [])
    other.commit(make_windows("0f"), [])
    other.commit(make_windows("ab"), [])
    for store in (one, other):
        found = store.read_vectors()
        rows = [row for content in ("0f", "ab", "ab1", "cc") for row in make_windows(content)]
        assert found.ids == [row.id for row in rows]
        assert found.names == ["0f", "ab", "ab1", "cc"]
        assert found.contents.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
        np.testing.assert_array_equal(found.matrix, [row.vector for row in rows])
        np.testing.assert_array_equal(
            found.starts, np.array([row.start for row in rows], np.float32)
        )
        np.testing.assert_array_equal(found.ends, np.array([row.end for row in rows], np.float32))
        assert found.matrix.dtype == found.starts.dtype == np.float32
        assert found.contents.dtype == np.int32


def test_files_are_replaced_and_removed(store):
    store.commit(make_windows("ab"), [make_file("01", "ab"), make_file("02", "ab")])
    store.commit([], [make_file("02", "", 0, reason="gone"), make_file("03", "ab")])
    assert [(row.id, row.reason) for row in store.read_files()] == [
        ("01", ""),
        ("02", "gone"),
        ("03", ""),
    ]
    store.remove_files(["01", "ff"])
    assert [row.id for row in store.read_files()] == ["02", "03"]
    store.commit(make_windows("cc"), [])
    store.remove_contents(["ab"])
    assert list(store.read_contents()) == ["cc"]
    store.remove_contents([])
    assert store.count_windows() == 3


def test_scan_finds_what_is_not_what_was_stored(store):
    store.commit(make_windows("ab") + make_windows("cc"), [])
    assert all(row.is_whole for row in store.scan())
    store._windows.update(where="id = 'cc-00001'", values={"thumbnail": b"other"})
    rows = {row.id: row for row in store.scan()}
    assert [key for key, row in rows.items() if not row.is_whole] == ["cc-00001"]
    assert len(rows) == 6
    assert are_same(WindowRow(*rows["ab-00002"][:6]), make_windows("ab")[2])


def test_what_is_no_id_is_refused(store):
    for bad in ("", "x' OR 'a' = 'a", "ab-", "AB", "ab\n"):
        for call in (
            lambda bad=bad: store.read_thumbnail(bad),
            lambda bad=bad: store.read_window(bad),
            lambda bad=bad: store.remove_files(["ab", bad]),
            lambda bad=bad: store.remove_contents([bad]),
            lambda bad=bad: store.find_nearest(make_vectors(1, DIMENSIONS), 1, [bad]),
        ):
            with pytest.raises(ValueError, match="is not an id: ids are hexadecimal digits"):
                call()


def test_a_vector_of_another_length_is_refused(store):
    row = make_windows("ab")[0]._replace(vector=make_vectors(0, 9))
    with pytest.raises(ValueError, match=r"ab-00000 has shape \(9,\); .* have 8 values"):
        store.commit([row], [make_file("01", "ab")])
    assert store.read_files() == []


def test_where_there_is_no_index(tmp_path):
    (tmp_path / "text").write_text("")
    (tmp_path / "video.lance").mkdir()
    for uri in (tmp_path / "none", tmp_path / "text", tmp_path):
        assert not Store.exists(uri)
        with pytest.raises(VideoIndexError, match=r"holds no index; `tempme index FOLDER` makes"):
            Store.open(uri)
        Store.remove(uri)
    assert sorted(os.listdir(tmp_path)) == ["text", "video.lance"]
    with pytest.raises(VideoIndexError, match="cannot be written: File exists; nothing was made"):
        create_store(tmp_path / "text")


def test_an_index_is_not_made_twice(store):
    store.commit(make_windows("ab"), [make_file("01", "ab")])
    with pytest.raises(VideoIndexError, match="holds an index already; use it, or .* --rebuild"):
        create_store(store.uri)
    assert Store.open(store.uri).read_files() == store.read_files()


@pytest.mark.parametrize("gone", ["header.lance", "header.lance/_versions"])
def test_a_creation_that_was_ended_is_no_index(store, gone):
    store.commit(make_windows("ab"), [make_file("01", "ab")])
    shutil.rmtree(Path(store.uri) / gone)
    assert not Store.exists(store.uri)
    with pytest.raises(VideoIndexError, match="holds no index"):
        Store.open(store.uri)
    assert create_store(store.uri).read_files() == []
    assert Store.open(store.uri).count_windows() == 0


def test_a_newer_format(tmp_path, monkeypatch):
    monkeypatch.setattr("tempme_jax.search.store.tables.FORMAT", FORMAT + 1)
    create_store(tmp_path)
    monkeypatch.undo()
    with pytest.raises(VideoIndexError, match=r"format 3, of a newer .* Update tempme_jax, or"):
        Store.open(tmp_path)


def test_another_database(tmp_path):
    import lancedb

    lancedb.connect(tmp_path).create_table("header", [{"x": 1}])
    with pytest.raises(VideoIndexError, match="cannot be read: .*if it is damaged"):
        Store.open(tmp_path)


@pytest.mark.parametrize("part", ["data", "_versions"])
@pytest.mark.parametrize("table", ["header", "unrelated", "files", "windows"])
def test_damaged_tables(store, table, part):
    store.commit(make_windows("ab"), [make_file("01", "ab")])
    for path in Path(store.uri).glob(f"{table}.lance/{part}/*"):
        os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(
        VideoIndexError, match=rf"is damaged \({table}.* (bytes, not|cut short).*`tempme"
    ):
        Store.open(store.uri)
    (Path(store.uri) / "checksums").unlink()  # as in indexes of earlier versions
    with pytest.raises(VideoIndexError, match=rf"is damaged \({table}.* is cut short"):
        Store.open(store.uri)
    assert Store.exists(store.uri)
    Store.remove(store.uri)
    assert create_store(store.uri).read_contents() == {}


def test_tables_that_are_gone(store):
    store.commit(make_windows("ab"), [])
    shutil.rmtree(Path(store.uri) / "windows.lance" / "_versions")
    with pytest.raises(VideoIndexError, match="cannot be read: Table 'windows' was not found"):
        Store.open(store.uri)


def test_a_file_that_is_gone(store):
    store.commit(make_windows("ab"), [])
    next(Path(store.uri).glob("windows.lance/data/*")).unlink()
    with pytest.raises(VideoIndexError, match=r"is damaged \(windows.lance/data/.* is missing"):
        Store.open(store.uri)
    (Path(store.uri) / "checksums").unlink()
    again = Store.open(store.uri)
    for read in (again.read_vectors, again.read_contents, lambda: list(again.scan())):
        with pytest.raises(VideoIndexError, match="cannot be read: Not found.*; if it is damaged"):
            read()


@pytest.fixture
def nobody():
    """Root may read everything; so the test is another user for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


def test_a_folder_that_may_not_be_read(store, request):
    for path in Path(store.uri).glob("header.lance/**/*"):
        path.chmod(0)
    request.getfixturevalue("nobody")
    with pytest.raises(
        VideoIndexError, match="(?i)cannot be read: .*permission denied.*; check who"
    ):
        Store.open(store.uri)


@pytest.mark.parametrize("table", ["_windows", "_files"])
def test_a_full_disk(store, monkeypatch, table):
    store.commit(make_windows("ab"), [make_file("01", "ab")])
    failure = RuntimeError(
        "lance error: LanceError(IO): No space left on device (os error 28), /x/y.rs:258:9\nmore"
    )

    def fail(*_):
        raise failure

    monkeypatch.setattr(getattr(store, table), "add", fail)
    monkeypatch.setattr(getattr(store, table), "merge_insert", fail)
    full = r"is full \(No space left on device \(os error 28\)\); what .* before is intact$"
    with pytest.raises(VideoIndexError, match=full):
        store.commit(make_windows("cc"), [make_file("02", "cc")])
    monkeypatch.undo()
    assert [row.id for row in Store.open(store.uri).read_files()] == ["01"]
    store.remove_contents(["cc"])
    store.commit(make_windows("cc"), [make_file("02", "cc")])
    assert list(store.read_contents()) == ["ab", "cc"]


def test_others_see_what_is_written(store):
    other = Store.open(store.uri)
    seen = other.version
    assert other.version == seen
    store.commit(make_windows("ab"), [make_file("01", "ab")])
    assert other.read_files() == []
    other.refresh()
    assert other.read_files() == store.read_files()
    assert other.version != seen
    seen = store.version
    other.commit([], [make_file("02", "ab")])
    assert store.version != seen
    assert len(store.read_files()) == 2
    seen = store.version
    other.remove_contents(["ab"])
    assert store.version != seen


def test_an_index_that_was_made_anew_in_its_place(store):
    store.commit(make_windows("ab"), [make_file("01", "ab")])
    seen = store.version
    Store.remove(store.uri)
    vectors = make_vectors(0, 1, 16)
    anew = Store.create(store.uri, {"other": True}, ["c"], vectors)
    row = make_windows("cc")[0]._replace(vector=vectors[0])
    anew.commit([row], [make_file("02", "cc", 1)])
    assert store.version != seen
    assert store.header == {"other": True, "format": FORMAT}
    assert store.read_vectors().ids == [row.id]
    store.commit([row._replace(id="cc-00001")], [])
    assert store.count_windows() == 2


def test_nearest_without_an_index(store):
    store.commit(make_windows("ab", 20) + make_windows("cc", 20), [])
    query = make_vectors(5, DIMENSIONS)
    vectors = store.read_vectors()
    scores = vectors.matrix @ query
    order = np.argsort(-scores)
    found = store.find_nearest(query, 7)
    assert [near.id for near in found] == [vectors.ids[i] for i in order[:7]]
    np.testing.assert_allclose([near.score for near in found], scores[order[:7]], atol=1e-5)
    only = store.find_nearest(query, 5, ["cc"])
    assert [near.id for near in only] == [vectors.ids[i] for i in order if i >= 20][:5]
    assert only[0][1:4] == ("cc", *store.read_window(only[0].id)[2:4])
    assert store.find_nearest(query, 5, []) == []
    assert len(store.find_nearest(query, 50, ["cc", "dd"])) == 20
    assert store.find_nearest_many(np.stack([-query, query]), 7)[1] == found
    assert store.find_nearest_many(query[None], 7) == [found]
    assert store.find_nearest_many(np.zeros((0, DIMENSIONS)), 7) == []


def test_index_above_the_limit(tmp_path):
    store = Store.create(tmp_path, HEADER, ["a"], make_vectors(0, 1, 32), exact_limit=1000)
    centres = make_vectors(1, 40, 32)
    matrix = np.repeat(centres, 50, 0) + 0.3 * make_vectors(2, 2000, 32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    ids = [make_window_id(f"{i // 50:02x}", i % 50) for i in range(2000)]
    store.commit([WindowRow(i, i[:2], 0, 1, v, b"") for i, v in zip(ids, matrix, strict=True)], [])
    assert store.is_large
    store.tidy()
    assert [index.index_type for index in store._windows.list_indices()] == ["IvfSq"]
    queries = make_vectors(3, 20, 32)
    true = [{ids[i] for i in np.argsort(-row)[:10]} for row in queries @ matrix.T]
    found = [store.find_nearest(query, 10) for query in queries]
    for result in (found, store.find_nearest_many(queries, 10)):
        hits = [
            len(want & {near.id for near in got}) for want, got in zip(true, result, strict=True)
        ]
        assert sum(hits) >= 0.98 * 200
    allowed = [f"{i:02x}" for i in range(5)]
    assert {near.content for near in store.find_nearest(queries[0], 30, allowed)} <= set(allowed)
    # Of these there are too many for a condition in SQL.
    many = allowed + [f"{i:08x}" for i in range(5000)]
    assert len(store.find_nearest(queries[0], 250, many)) == 250
    fresh = WindowRow("ffff-00000", "ffff", 0, 1, queries[0], b"")
    store.commit([fresh], [])
    best = store.find_nearest(queries[0], 1)[0]
    assert (best.id, best.score) == (fresh.id, pytest.approx(1, abs=1e-5))
    store.tidy()
    assert count_unindexed(store) == 1
    more = [fresh._replace(id=f"eeee-{i:05d}", content="eeee") for i in range(600)]
    store.commit(more, [])
    store.tidy()
    assert count_unindexed(store) == 0
    assert len(store.find_nearest(queries[0], 700)) == 700
    for path in tmp_path.glob("windows.lance/_indices/*/*"):
        os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(VideoIndexError, match=r"is damaged \(windows.lance/_indices"):
        Store.open(tmp_path)


def test_tidy_keeps_what_others_read(store):
    for number in range(25):
        store.commit(make_windows(f"{number:02x}"), [make_file(f"{number:02x}", f"{number:02x}")])
    other = Store.open(store.uri)
    before = len(list(Path(store.uri).glob("windows.lance/data/*")))
    store.tidy()
    assert other.count_windows() == len(other.read_vectors().ids) == 75
    assert store.read_vectors().ids == other.read_vectors().ids
    after = len(list(Path(store.uri).glob("windows.lance/data/*")))
    assert after == before + 1
    store.commit(make_windows("ff"), [])
    store.tidy()
    assert len(list(Path(store.uri).glob("windows.lance/data/*"))) == after + 1


CONFLICT = "Retryable commit conflict for version 30: preempted by concurrent transaction Rewrite"


def test_writing_gives_way_to_others_and_is_tried_again(store, monkeypatch):
    add, failures = store._windows.add, [RuntimeError(CONFLICT)] * 2

    def sometimes(rows):
        if failures:
            raise failures.pop()
        add(rows)

    def never(**_):
        raise RuntimeError(CONFLICT)

    monkeypatch.setattr(store._windows, "add", sometimes)
    monkeypatch.setattr(store._windows, "optimize", never)
    store.commit(make_windows("ab"), [make_file("01", "ab")])
    store.tidy()
    assert store.read_contents()["ab"].windows == 3
    monkeypatch.setattr(store._windows, "add", lambda _: never())
    monkeypatch.setattr("tempme_jax.search.store.failures.ATTEMPTS", 2)
    with pytest.raises(VideoIndexError, match="commit conflict .*; what was stored before is"):
        store.commit(make_windows("cc"), [make_file("02", "cc")])


def start(code, *arguments, **options):
    """A process of its own that runs code."""
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)


def test_one_run_at_a_time(tmp_path):
    folder = tmp_path / "not" / "there"
    code = f"""
        import sys
        from tempme_jax.search.store.locking import lock_index
        for shard in (None, (0, 2)):
            with lock_index({str(folder)!r}, shard):
                print("held", flush=True)
                sys.stdin.readline()
    """
    with start(code, stdin=subprocess.PIPE) as child:
        assert child.stdin and child.stdout
        assert child.stdout.readline() == "held\n"
        for shard in (None, (0, 2), (1, 2)):
            held = f"{folder} is being written by process {child.pid} on .*; wait until"
            with pytest.raises(VideoIndexError, match=held), lock_index(folder, shard):
                pass
        child.stdin.write("go on\n")
        child.stdin.flush()
        assert child.stdout.readline() == "held\n"
        for shard in (None, (0, 2), (0, 3), (1, 3)):
            with pytest.raises(VideoIndexError, match=held), lock_index(folder, shard):
                pass
        with pytest.raises(VideoIndexError, match="another number of shards than 3"):
            lock_index(folder, (0, 3)).__enter__()
        with lock_index(folder, (1, 2)):
            pass
        child.send_signal(signal.SIGKILL)
    with (
        lock_index(folder, None),
        pytest.raises(VideoIndexError, match=f"process {os.getpid()} on"),
    ):
        with lock_index(folder, None):
            pass


def test_where_nothing_can_be_locked(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(VideoIndexError, match=r"cannot be locked \(Not a directory\); an index"):
        with lock_index(tmp_path / "file" / "index", None):
            pass
    with lock_index("s3://bucket/index", None), lock_index("s3://bucket/index", None):
        pass


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK])
def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, code):
    """And not locked by a file that would outlive a killed run."""

    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", fail)
    for lock in (lock_index(tmp_path), lock_index(tmp_path, (0, 2)), lock_creation(tmp_path)):
        with pytest.raises(VideoIndexError, match=f"cannot be locked .{os.strerror(code)}"), lock:
            pytest.fail("is locked")


def test_processes_that_are_killed_while_they_write(store):
    code = f"""
        import sys
        import numpy as np
        from tempme_jax.search.store.store import FileRow, Store, WindowRow
        store = Store.open({store.uri!r})
        vector = np.ones({DIMENSIONS}, np.float32)
        print("begins", flush=True)
        for number in range(10**6):
            name = f"{{sys.argv[1]}}{{number:06x}}"
            ids = [f"{{name}}-{{i:05d}}" for i in range(9)]
            rows = [WindowRow(key, name, 0, 1, vector, b"x" * 999) for key in ids]
            store.commit(rows, [FileRow(name, "/", b"x", 1, 1, name, 1.0, 9)])
            print(name, flush=True)
    """
    children = [start(code, key) for key in ("a", "b")]
    acknowledged = set()
    for child in children:
        assert child.stdout and child.stdout.readline() == "begins\n"
    for child in children:
        time.sleep(0.2)
        child.kill()
    for child in children:
        assert child.stdout
        acknowledged |= set(child.stdout.read().split())
        child.wait()
        child.stdout.close()
    assert acknowledged
    store.refresh()
    files, contents = store.read_files(), store.read_contents()
    assert acknowledged <= {row.id for row in files}
    assert len(files) <= len(acknowledged) + len(children)
    assert all(contents[row.content].windows == row.windows == 9 for row in files)
    assert all(row.is_whole for row in store.scan())
