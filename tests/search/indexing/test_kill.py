"""Whatever ends a run of indexing, what it has stored is whole, and the next run goes on."""

import contextlib
import multiprocessing
import os
import random
import resource
import time

import pytest
import toy_index
from toy_index import decode_here, list_windows, write_films

import tempme_jax
from tempme_jax.search.index import VideoIndex

pytestmark = pytest.mark.processes

SECONDS, FILMS = 300, 14
# Imported once, by the process that all others are forked from.
PRELOADED = ["conftest", "test_kill", "tempme_jax.search.index", "tempme_jax.cli"]


class Home:
    """Videos, a model, what others compiled, and how an index of them is when all went well."""

    def __init__(self, folder):
        self.videos, self.model = folder / "videos", folder / "model.safetensors"
        self.compiled = folder / "compiled"
        write_films(self.videos, {f"{number:02}.mp4": str(number) for number in range(FILMS)})
        write_films(self.videos, {"long.mp4": "long", "copy.mp4": "3", "deep/long.mp4": "40"})
        (self.videos / "bad.mp4").write_bytes(b"no video")
        toy_index.make_model().save(self.model)
        self.opened = tempme_jax.load(self.model)
        self.place = folder / "whole"
        finish(self.start(self.place))
        self.whole = read_state(self.index(self.place))
        self.written = count_tables(self.place)

    def start(self, place, work="index", **options):
        """A process that works at the index in a folder."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        given = (work, self.videos, place, self.model, self.compiled, options)
        process = context.Process(target=run, args=given)
        process.start()
        return process

    def index(self, place):
        """It as this process sees it."""
        return VideoIndex(place, model=self.opened)


def run(work, videos, place, model, compiled, options):
    """What such a process does; every video is stored by itself, and tables often put together."""
    import jax

    from tempme_jax.cli import main
    from tempme_jax.search.indexing import embedding, run
    from tempme_jax.search.store import lance

    jax.config.update("jax_enable_compilation_cache", True)
    jax.config.update("jax_compilation_cache_dir", str(compiled))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    read = embedding.read_windows

    def note_decoded(*arguments, **given):
        """Writes down what was decoded."""
        with (
            open(f"{place}.decoded", "a") as file,
            contextlib.closing(read(*arguments, **given)) as items,
        ):
            for item in items:
                file.write(f"{item.key}\n")
                file.flush()
                yield item

    embedding.read_windows = note_decoded
    if work == "index":
        run.WINDOWS_A_COMMIT, run.COMMITS_BETWEEN_TIDYING = 1, 3
        lance.FEW_PARTS, lance.MANY_PARTS = 2, 4
        VideoIndex(place, model=model).add(videos, quiet=True, **options)
        return
    limit = options["limit"]
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    with open(f"{place}.said", "w", buffering=1) as file:
        os.dup2(file.fileno(), 2)
    main(["index", str(videos), "--index", str(place), "--model", str(model), "--quiet"])


def finish(process, exitcode=0):
    process.join(SECONDS)
    assert process.exitcode == exitcode


def read_state(index):
    """All that an index holds of videos."""
    return index.store.read_files(), list_windows(index)


def read_decoded(place):
    """The contents that were decoded so far, as often as they were."""
    file = place.with_name(f"{place.name}.decoded")
    return file.read_text().split() if file.exists() else []


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return Home(tmp_path_factory.mktemp("home"))


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """This process itself starts no others to decode."""
    decode_here(monkeypatch)


def count_tables(place):
    """How often tables of an index were written."""
    return len(list(place.glob("*.lance/_versions/*")))


def kill(process, place, rng, written):
    """Ends a process once it has written some tables, or just before or after that."""
    deadline, written = time.monotonic() + SECONDS, count_tables(place) + rng.randint(0, written)
    while count_tables(place) < written and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.001)
    process.join(rng.uniform(0, 0.05))
    process.kill()
    process.join()


def check_what_is_left(home, place):
    """The contents that are done; they are whole."""
    index = home.index(place)
    if not index.exists:
        return set()
    told = index.verify(repair=False, quiet=True)
    assert told.problems == []
    files, windows = read_state(index)
    whole_files = {row.id: row for row in home.whole[0]}
    assert all(row == whole_files[row.id] for row in files)
    assert windows.items() <= home.whole[1].items()
    found = index.search("a cat", 5)
    good = [row for row in files if not row.reason]
    assert len(found.moments) == min(5, len({row.content for row in good}))
    assert found.searched == sum({row.content: row.windows for row in good}.values())
    return {row.content for row in good} | index.store.read_contents().keys()


def kill_and_resume(home, place, kills, seed):
    """How many runs were killed before they were done."""
    rng, killed = random.Random(seed), 0
    done = set()
    for left in range(kills, 0, -1):
        before = len(read_decoded(place))
        process = home.start(place)
        kill(process, place, rng, (home.written - count_tables(place)) // left)
        killed += process.exitcode != 0
        assert done.isdisjoint(read_decoded(place)[before:])
        done = check_what_is_left(home, place)
    before = len(read_decoded(place))
    finish(home.start(place))
    assert done.isdisjoint(read_decoded(place)[before:])
    index = home.index(place)
    assert read_state(index) == home.whole
    assert index.verify(repair=False, quiet=True).leftovers == 0
    assert index.search("a cat") == home.index(home.place).search("a cat")
    return killed


def test_the_whole_index(home):
    """As one that is made in one go, and in this process."""
    files, windows = home.whole
    assert [row.path for row in files if row.reason] == [b"bad.mp4"]
    assert (len(files), len({row.content for row in files})) == (FILMS + 4, FILMS + 3)
    assert sorted(set(read_decoded(home.place))) == sorted(
        {row.content for row in files if not row.reason}
    )
    assert len(windows) == FILMS + 7 + 2


def test_a_killed_run_is_gone_on_with(home, tmp_path):
    assert kill_and_resume(home, tmp_path / "index", 1, seed=1) == 1


@pytest.mark.slow
def test_runs_that_are_killed_twenty_times(home, tmp_path):
    assert kill_and_resume(home, tmp_path / "index", 20, seed=0) >= 10


@pytest.mark.slow
def test_processes_that_make_an_index_together(home, tmp_path):
    place = tmp_path / "index"
    processes = [home.start(place, shard=(number, 2)) for number in range(2)]
    for process in processes:
        finish(process)
    assert read_state(home.index(place)) == home.whole
    assert sorted(read_decoded(place)) == sorted(read_decoded(home.place))


def test_a_disk_that_is_full(home, tmp_path):
    """The error is a line; nothing that was stored is lost, and the next run completes it."""
    place = tmp_path / "index"
    some = write_films(tmp_path / "some", {"50.mp4": "50", "51.mp4": "51"})
    index = home.index(place)
    index.add(some, quiet=True)
    before = read_state(index)
    finish(home.start(place, "limited", limit=8000), exitcode=1)
    [line] = (tmp_path / "index.said").read_text().splitlines()
    assert line.startswith(f"Error: the index {place} cannot be written: ")
    assert line.endswith("what was stored before is intact")
    files, windows = read_state(home.index(place))
    [bad] = set(files) - set(before[0])  # to say so of it takes little
    assert (bad.path, windows) == (b"bad.mp4", before[1])
    assert home.index(place).verify(repair=False, quiet=True).is_clean
    finish(home.start(place))
    files, windows = read_state(home.index(place))
    assert windows == home.whole[1] | before[1]
    assert files == sorted(home.whole[0] + before[0])
