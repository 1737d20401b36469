"""A cluster embeds as one process does, whatever becomes of its actors."""

import importlib.util
import os
import signal
import sys
import types
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import toy_index

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.index import VideoIndex
from tempme_jax.search.indexing import cluster, distributed
from tempme_jax.search.indexing.cluster import ActorPool
from tempme_jax.search.indexing.distributed import Actor, ActorInputs
from tempme_jax.search.indexing.embedding import EmbeddedVideo, embed_locally
from tempme_jax.search.indexing.plan import Work
from tempme_jax.search.indexing.reading import FailedVideo, Source
from tempme_jax.video.windows import Sampling

# Of some versions, when a cluster on this machine ends: files, and processes not waited for.
WHAT_RAY_LEAVES_OPEN = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
SAMPLING = Sampling(frames=toy_index.FRAMES)
FINISHED = EmbeddedVideo(
    "a", 7.5, [(0.0, 4.0), (3.5, 7.5)], np.eye(2, 3, dtype=np.float32), [b"\xff\xd8", b"\0"]
)
FAILED = FailedVideo("b", "decode", "no decodable frame")


def make_work(seconds, file="/videos/a.mp4"):
    """Videos of such lengths, named by their numbers."""
    sources = [Source(key=str(number), file=str(file)) for number in range(len(seconds))]
    lengths = {source.key: length for source, length in zip(sources, seconds, strict=True)}
    return Work(sources=sources, seconds=lengths)


def are_same(one, other):
    """Whether two videos are the same to the last bit."""
    if isinstance(one, FailedVideo) or isinstance(other, FailedVideo):
        return one == other
    others = one._replace(vectors=None) == other._replace(vectors=None)
    return others and one.vectors.tobytes() == other.vectors.tobytes()


def test_videos_come_through_arrow_as_they_were():
    rows = [distributed.pack_row(done) for done in (FINISHED, FAILED)]
    tables = [pa.Table.from_pylist([row]) for row in rows]
    table = pa.concat_tables(tables, promote_options="default")
    finished, failed = map(distributed.unpack_row, table.to_pylist())
    assert are_same(finished, FINISHED)
    assert finished.vectors.dtype == np.float32
    assert failed == FAILED


def test_rows_come_in_the_order_of_the_videos():
    early = [FAILED._replace(key=key) for key in "cabed"]
    assert [video.key for video in distributed.sort_videos(early, "abcde")] == [*"abcde"]


@pytest.mark.parametrize(
    ("seconds", "actors", "expected"),
    [
        ([30] * 4, 1, [2, 2]),  # at least a minute each, though there would be four shares
        ([600] * 16, 2, [2] * 8),  # four shares for each of two actors
        ([5 * 3600] * 3 + [None] * 3, 1, [1, 1, 1, 3]),  # no more than four hours, and a video
        ([10], 9, [1]),
    ],
)
def test_shares_of_the_work(seconds, actors, expected):
    work = make_work(seconds)
    parts = distributed.split_work(work, actors)
    assert [len(part) for part in parts] == expected
    assert sum(parts, []) == work.sources


def machine(alive=True, **resources):
    return {"Alive": alive, "Resources": {"memory": 1e9, **resources}}


GPUS = [machine(CPU=2.0), machine(CPU=16.0, GPU=2.0), machine(CPU=32.0, GPU=2.0)]
PLAIN = [machine(), machine(CPU=8.0), machine(CPU=4.0), machine(alive=False, CPU=8.0, GPU=8.0)]


@pytest.mark.parametrize(
    ("machines", "actors", "expected"),
    [
        (GPUS, None, ActorPool(4, {"num_cpus": 1, "num_gpus": 1}, 7)),
        (GPUS, 9, ActorPool(4, {"num_cpus": 1, "num_gpus": 1}, 7)),
        (GPUS, 2, ActorPool(2, {"num_cpus": 1, "num_gpus": 1}, 15)),
        (
            [machine(CPU=9.0, TPU=4.0)],
            None,
            ActorPool(4, {"num_cpus": 1, "resources": {"TPU": 1}}, 1),
        ),
        (PLAIN, None, ActorPool(2, {"num_cpus": 1}, 3)),
        (PLAIN, 4, ActorPool(4, {"num_cpus": 1}, 1)),
        ([machine(CPU=2.0)], 2, ActorPool(2, {"num_cpus": 1}, 1)),
        ([machine(CPU=2.0)], 5, ActorPool(2, {"num_cpus": 1}, 1)),
    ],
)
def test_actors_of_a_cluster(machines, actors, expected):
    assert cluster.plan_pool(machines, actors) == expected


def test_a_cluster_without_processors_is_refused():
    with pytest.raises(VideoIndexError, match="no machine with a processor"):
        cluster.plan_pool([machine()], None)


def test_what_to_do_without_ray(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "ray" else find(name)
    )
    with pytest.raises(VideoIndexError, match=r"pip install 'tempme-jax\[ray\]'.*--shard"):
        next(
            distributed.embed_on_cluster(make_work([1]), None, SAMPLING, address="local", actors=1)
        )


class FakeRay:
    """Notes what is asked of it, and takes over SIGTERM as the true one does."""

    exceptions = types.SimpleNamespace(RayError=LookupError)

    def __init__(self, error=None, is_joined=False):
        self.error, self.is_joined, self.called = error, is_joined, []

    def is_initialized(self):
        return self.is_joined

    def init(self, address, **options):
        self.called.append(("init", address, options.get("num_cpus")))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if self.error:
            raise self.error

    def shutdown(self):
        self.called.append("shutdown")


def test_a_cluster_is_left_whatever_happens():
    ray, handler = FakeRay(), signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), cluster.join_cluster(ray, "local", 99):
        assert signal.getsignal(signal.SIGTERM) == handler
        raise ZeroDivisionError
    assert ray.called == [("init", "local", 99), "shutdown"]
    with cluster.join_cluster(ray := FakeRay(), "auto", 99):
        pass
    assert ray.called == [("init", "auto", None), "shutdown"]


def test_a_cluster_that_the_program_has_joined_is_kept():
    with cluster.join_cluster(ray := FakeRay(is_joined=True), "auto", None):
        pass
    assert ray.called == []


def test_where_there_is_no_cluster():
    handler = signal.getsignal(signal.SIGTERM)
    for error in (
        ConnectionError("None found.\nMore."),
        LookupError("None found."),
        TimeoutError(),
    ):
        told = r"at 'auto' \((None found\.|TimeoutError)\); start one with `ray start"
        with (
            pytest.raises(VideoIndexError, match=told),
            cluster.join_cluster(FakeRay(error), "auto", 1),
        ):
            pytest.fail("is no cluster")
    assert signal.getsignal(signal.SIGTERM) == handler
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1"):
        with pytest.raises(VideoIndexError, match="Connection refused"):
            with cluster.join_cluster(ray := FakeRay(), address, None):
                pytest.fail("is no cluster")
        assert ray.called == []


@pytest.fixture
def actor(tmp_path, monkeypatch):
    """An actor in this process, and the videos that it was given; the second is bad."""
    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(get=lambda given: given))
    toy_index.decode_here(monkeypatch)
    folder = toy_index.write_films(tmp_path / "videos", {"0.mp4": "1", "2.mp4": "long"})
    (folder / "1.mp4").write_bytes(b"A text about a cat.")
    sources = [Source(key=str(i), file=str(folder / f"{i}.mp4")) for i in range(3)]
    return Actor(
        ActorInputs(toy_index.make_model(), SAMPLING, 1, [[], sources], str(folder))
    ), sources


def test_an_actor_embeds_as_this_process(actor):
    actor, sources = actor
    rows = [distributed.unpack_row(row) for row in actor({"item": 1})]
    here = embed_locally(Work(sources=sources), toy_index.make_model(), SAMPLING, workers=1)
    expected = {video.key: video for video in here}
    assert [row.key for row in rows] == ["0", "1", "2"]
    assert isinstance(rows[1], FailedVideo)
    assert [len(rows[i].spans) for i in (0, 2)] == [1, 7]
    assert all(are_same(row, expected[row.key]) for row in rows)


def test_an_actor_where_the_videos_are_not(actor, tmp_path):
    (tmp_path / "videos").rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match="/videos is not on .*; it has to be there"):
        list(actor[0]({"item": 1}))


@pytest.fixture
def as_in_this_process(monkeypatch):
    """Actors compile as the tests do, so that their vectors are the same."""
    pytest.importorskip("ray")
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    monkeypatch.setenv("JAX_DEFAULT_MATMUL_PRECISION", "highest")


@pytest.mark.slow
@WHAT_RAY_LEAVES_OPEN
def test_two_actors_make_the_index_of_one_process(tmp_path, as_in_this_process, capfd):
    names = {f"{i:02}.mp4": str(i) for i in range(12)} | {"long.mp4": "long"}
    folder = toy_index.write_films(tmp_path / "videos", names)
    (folder / "bad.mp4").write_bytes(b"A text about a cat.")
    # The header of a film, and nothing of its frames: only an actor sees that it is bad.
    film = toy_index.read_film("20")
    (folder / "cut.mp4").write_bytes(film[: film.index(b"mdat") + 4])
    index = VideoIndex(tmp_path / "ray", model=toy_index.make_model())
    report = index.add(folder, ray="local", workers=2, quiet=True)
    assert (report.embedded, report.left, len(report.failures)) == (13, 0, 2)
    assert capfd.readouterr() == ("", "")
    one = VideoIndex(tmp_path / "one", model=toy_index.make_model())
    assert one.add(folder, quiet=True).failures == report.failures
    assert toy_index.list_files(index) == toy_index.list_files(one)
    assert toy_index.list_windows(index) == toy_index.list_windows(one)


def list_actors(pid):
    """The processes of actors that a process has started, or those that it has."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
                name = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1]), name
    below = {pid}
    while more := {child for child, (parent, _) in parents.items() if parent in below} - below:
        below |= more
    return [one for one in below if parents[one][1].startswith(b"ray::MapWorker")]


@pytest.mark.slow
@WHAT_RAY_LEAVES_OPEN
def test_killed_actors_lose_nothing(tmp_path, as_in_this_process, monkeypatch):
    monkeypatch.setattr(distributed, "LEAST_SECONDS", 1.0)
    folder = toy_index.write_films(tmp_path / "videos", {"long.mp4": "long"})
    work = make_work([15.3] * 200, folder / "long.mp4")
    (expected,) = embed_locally(
        make_work([15.3], folder / "long.mp4"), toy_index.make_model(), SAMPLING, workers=1
    )
    done = distributed.embed_on_cluster(
        work, toy_index.make_model(), SAMPLING, address="local", actors=2
    )
    found = [next(done)]
    killed = list_actors(os.getpid())
    assert killed
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    found += done
    assert sorted(int(video.key) for video in found) == list(range(200))
    assert all(are_same(video, expected._replace(key=video.key)) for video in found)
    assert list_actors(os.getpid()) == []
