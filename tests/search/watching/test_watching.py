"""A folder that is watched: when it is indexed, what is left out meanwhile, and what is said."""

import datetime
import json
import os
import signal
import subprocess
import sys
import time
import types

import pytest
from click.testing import CliRunner

from tempme_jax.commands.index import index
from tempme_jax.commands.watch import watch
from tempme_jax.search.indexing.exclusion import Exclusion
from tempme_jax.search.watching import watcher as module
from tempme_jax.search.watching.growing import GrowingFiles
from tempme_jax.search.watching.hours import Hours
from tempme_jax.search.watching.runs import IndexRunner, RunOutcome, explain_failure
from tempme_jax.search.watching.watcher import (
    FolderWatcher,
    WatchStopped,
    make_filter,
    make_pattern,
    watch_changes,
)

SETTLE = 10.0


def change(name, path):
    return types.SimpleNamespace(name=name), os.fspath(path)


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand; files are written at its time."""
    clock = types.SimpleNamespace(now=1000.0)
    fake = types.SimpleNamespace(monotonic=lambda: clock.now, time=lambda: clock.now + 1e9)
    monkeypatch.setattr(module, "time", fake)

    def write(path, data, age=0.0):
        path.write_bytes(data)
        os.utime(path, (clock.now + 1e9 - age,) * 2)
        return path

    clock.write = write
    return clock


class Runs:
    """Stands for the index: notes how it is run, and answers as it is told."""

    def __init__(self):
        self.done, self.answers, self.lines = [], [], []

    def __call__(self, exclude, budget):
        self.done.append((exclude, budget))
        return self.answers.pop(0) if self.answers else RunOutcome(["1 video indexed"])

    def watch(self, folder, **options):
        chosen = {"settle": SETTLE, "every": 3600.0, "hours": None} | options
        return FolderWatcher(folder, self, say=self.lines.append, **chosen)


def test_a_file_is_indexed_once_it_is_whole(tmp_path, clock):
    runs = Runs()
    watcher = runs.watch(tmp_path)
    watcher.step([])
    assert (runs.done, runs.lines) == ([], ["no videos yet"])
    film = clock.write(tmp_path / "a[1].mp4", b"1")
    watcher.step([change("added", film)])
    for seconds in (9, 9):
        clock.now += seconds
        clock.write(film, b"1" * int(clock.now))
        watcher.step([change("modified", film)])
    clock.now += 9
    watcher.step([])
    assert runs.done == []
    clock.now += 2
    watcher.step([])
    clock.now += 100
    watcher.step([])
    assert runs.done == [([], None)]
    assert runs.lines[1:] == [
        "new or changed: a[1].mp4; waiting until it is whole", "indexing", "1 video indexed",
    ]  # fmt: skip


def test_what_grows_is_left_out_of_a_run(tmp_path, clock):
    runs = Runs()
    clock.write(tmp_path / "old.mp4", b"1", age=99)
    clock.write(tmp_path / "young *.mp4", b"1", age=1)
    watcher = runs.watch(tmp_path)
    watcher.step([])
    assert runs.done == [([r"/young \*.mp4"], None)]
    clock.now += SETTLE + 1
    watcher.step([])
    assert runs.done[1:] == [([], None)]


@pytest.mark.parametrize("kind", ["moved here", "deleted", "folder", "time"])
def test_what_starts_a_run_at_once(tmp_path, clock, kind):
    runs = Runs()
    clock.write(tmp_path / "old.mp4", b"1", age=99)
    watcher = runs.watch(tmp_path)
    watcher.step([])
    clock.now += 5
    (tmp_path / "deep").mkdir()
    moved = clock.write(tmp_path / "moved.mp4", b"1", age=99)
    changes = {
        "moved here": [change("added", moved)], "deleted": [change("deleted", tmp_path / "b.mp4")],
        "folder": [change("added", tmp_path / "deep")], "time": [],
    }  # fmt: skip
    clock.now += 4000 if kind == "time" else 0
    watcher.step(changes[kind])
    assert len(runs.done) == 2


def test_a_run_that_fails_is_tried_again_later(tmp_path, clock):
    runs = Runs()
    clock.write(tmp_path / "old.mp4", b"1", age=99)
    runs.answers = [RunOutcome(["the disk is full"], True)] * 3
    watcher = runs.watch(tmp_path)
    tried = []
    for _ in range(600):
        before = len(runs.done)
        watcher.step([])
        tried += [clock.now - 1000] if len(runs.done) > before else []
        clock.now += 1
    assert tried == [0, 60, 180, 420]
    assert runs.lines[1] == "failed: the disk is full; trying again in 60 s"
    os.rename(tmp_path, tmp_path.with_name("away"))
    watcher.step([change("deleted", tmp_path / "old.mp4")])
    assert "does not exist" in runs.lines[-1]


def test_a_wrong_option_ends_it(tmp_path, clock):
    runs = Runs()
    clock.write(tmp_path / "old.mp4", b"1", age=99)
    runs.answers = [RunOutcome(["no such option"], True, True)]
    with pytest.raises(WatchStopped, match="no such option"):
        runs.watch(tmp_path).step([])


def test_hours(tmp_path, clock, monkeypatch):
    day = datetime.datetime(2026, 1, 1)
    night, whole = Hours.parse("22-6:30"), Hours.parse("0-24")
    rests = [night.find_rest(day.replace(hour=hour)) / 3600 for hour in (5, 12, 22, 23)]
    assert rests == [1.5, 0, 8.5, 7.5] and whole.find_rest(day) == 24 * 3600
    for text in ("22", "25-6", "22-6:60", "-", ""):
        with pytest.raises(ValueError, match="write them like 22-6"):
            Hours.parse(text)
    times = iter([day.replace(hour=21), day.replace(hour=21), day.replace(hour=22)])
    fake = types.SimpleNamespace(datetime=types.SimpleNamespace(now=lambda: next(times)))
    monkeypatch.setattr(module, "datetime", fake)
    runs = Runs()
    clock.write(tmp_path / "old.mp4", b"1", age=99)
    watcher = runs.watch(tmp_path, hours=night)
    for _ in range(3):
        watcher.step([])
    assert runs.done == [([], 8.5 * 3600)]
    assert runs.lines[:2] == ["waiting for the hours 22:00-6:30", "indexing"]


def test_files_that_vanish_or_are_none(tmp_path):
    growing = GrowingFiles(SETTLE)
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    film = tmp_path / "a.mp4"
    film.write_bytes(b"1")
    for path in (film, pipe, tmp_path / "gone.mp4"):
        growing.note(str(path), 0, time.time())
    assert growing.paths == [str(film)]
    film.unlink()
    assert growing.look(1) == [str(film)] and growing.paths == []


def test_changes_that_matter(tmp_path):
    (tmp_path / "folder").mkdir()
    matters = make_filter(tmp_path)
    for kind, name, expected in [
        ("added", "a.MP4", True), ("added", "a.srt", True), ("added", "a.part", False),
        ("added", "folder", True), ("deleted", "sub/b", True), ("deleted", "b.txt", False),
        ("modified", ".tempme/files.lance", False), ("added", "deep/.x/a.mp4", False),
    ]:  # fmt: skip
        assert matters(*change(kind, tmp_path / name)) == expected, name


def test_patterns_take_one_file(tmp_path):
    names = ["a.mp4", "#a.mp4", "!b [1] \\*?.mp4", "sub/ä .mp4", "a.mp4 "]
    for name in names:
        exclusion = Exclusion([make_pattern(tmp_path, str(tmp_path / name))])
        taken = [
            each for each in names if exclusion.judge(os.fsencode(each), is_folder=False).excludes
        ]
        assert taken == [name]


def test_what_is_said_of_a_run():
    report = {
        "embedded": 2, "hours": 0.5, "seconds": 60, "moved": 1, "known": 0, "gone": 0, "left": 3,
        "stopped": "Time is up",
        "failures": [{"file": f"{i}\x1b.mp4", "reason": "no video", "stage": ""} for i in range(5)],
    }  # fmt: skip
    runner = IndexRunner([])
    outcome = runner.describe(0, json.dumps(report).encode(), "")
    assert outcome.is_left and not outcome.is_failed
    assert (
        outcome.lines[0] == "2 videos indexed (30 min) in 60 s, 1 moved, time is up, 3 videos left"
    )
    assert outcome.lines[1] == "not indexed: 0\ufffd.mp4: no video" and len(outcome.lines) == 5
    assert len(runner.describe(0, json.dumps(report).encode(), "").lines) == 1
    assert runner.describe(0, b"", "").is_failed
    assert explain_failure(1, "Starting...\nError: it is full\n") == "it is full"
    assert explain_failure(-9, "") == "the run was ended by SIGKILL; perhaps the memory was full"


def test_changes_are_noticed(tmp_path):
    changes = watch_changes(tmp_path, poll=False)
    assert next(changes) == set()
    (tmp_path / "a.mp4").write_bytes(b"1")
    found = next(changes)
    assert [os.path.basename(path) for _, path in found] == ["a.mp4"]
    changes.close()


@pytest.mark.parametrize("given, expected", [
    (["--model=tiny-tempme", "--per-frame", "--speed=1.5x"], ("tiny-tempme", True, 1.5)),
    ([], (None, False, None)),
])  # fmt: skip
def test_options_for_a_new_index_reach_its_runs(tmp_path, monkeypatch, given, expected):
    passed = []
    monkeypatch.setattr(IndexRunner, "__init__", lambda self, args: passed.append(args))
    monkeypatch.setattr(module, "watch_changes", lambda folder, poll: iter(()))
    result = CliRunner().invoke(watch, [str(tmp_path), "--nice=0", *given], catch_exceptions=False)
    assert result.exit_code == 0
    options = index.make_context("index", list(passed[0])).params
    assert tuple(options[name] for name in ("model", "per_frame", "speed")) == expected


@pytest.mark.slow
def test_the_command_ends_cleanly(tmp_path):
    command = [sys.executable, "-m", "tempme_jax", "watch", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert "watching" in process.stdout.readline() and "no videos yet" in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0 and out.endswith("ended; what was done is kept\n")


def test_an_empty_folder_is_not_looked_at_all_the_time(tmp_path, clock, monkeypatch):
    looks = []
    find = module.find_videos
    monkeypatch.setattr(module, "find_videos", lambda folder: looks.append(1) or find(folder))
    runs = Runs()
    watcher = runs.watch(tmp_path)
    for _ in range(10):
        watcher.step([])
        clock.now += 1
    assert (len(looks), runs.done) == (1, [])
