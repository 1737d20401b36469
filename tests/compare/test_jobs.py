"""Runs at the same time stay apart, end together when they must, and wait for memory."""

import sys
import time

import pytest

from tempme_jax.compare import jobs
from tempme_jax.compare.jobs import Jobs

# Makes a step, and waits until as many runs have made one as are to run together.
PROGRAM = """
import pathlib, signal, sys, time
folder, together, code = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
def save(number, frame):
    (folder / "saved").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
others = len(list(folder.parent.glob("*/metrics.jsonl"))) - len(list(folder.parent.glob("*/end")))
print("others", others, flush=True)
(folder / "metrics.jsonl").touch()
for _ in range(400):
    if len(list(folder.parent.glob("*/metrics.jsonl"))) >= together:
        break
    time.sleep(0.05)
print("done", end="")
(folder / "end").touch()
sys.exit(code)
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "EVERY", 0.05)
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()

    def start(together, codes, **options):
        work = Jobs(2, ["a", "b", "c"][: len(codes)], folders[: len(codes)], **options)

        def finish(number, launch):
            words = [str(folders[number]), str(together), str(codes[number])]
            return launch([sys.executable, "-c", PROGRAM, *words])

        return work, finish

    return start


def test_runs_go_on_together_and_one_that_fails_costs_no_other(start, capsys):
    work, finish = start(2, [0, 3, 0])
    outcomes = work.finish_all(finish)
    assert [code for code, _ in outcomes] == [0, 3, 0]
    assert [lines[-1] for _, lines in outcomes] == ["done"] * 3
    printed = capsys.readouterr().out.splitlines()
    assert sorted(line for line in printed if "done" in line) == [f"{n} | done" for n in "abc"]
    assert all(line[:4] in ("a | ", "b | ", "c | ") for line in printed)


def test_a_run_waits_while_memory_is_short(start, monkeypatch, capsys):
    monkeypatch.setattr(jobs, "measure_process_peak", lambda process: 1000)
    monkeypatch.setattr(jobs, "measure_free_memory", lambda: 1000)
    work, finish = start(1, [0, 0])
    assert [lines for _, lines in work.finish_all(finish)] == [["others 0", "done"]] * 2


def test_an_interrupt_ends_all_runs_and_lets_them_save(start, tmp_path):
    work, finish = start(3, [0, 0])

    def interrupt(number, launch):
        if number == 0:
            return finish(number, launch)
        while not (tmp_path / "a" / "metrics.jsonl").exists():
            time.sleep(0.05)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work.finish_all(interrupt)
    assert (tmp_path / "a" / "saved").exists()
    assert not (tmp_path / "a" / "end").exists()


def test_memory_is_read_where_linux_tells(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal:  9 kB\nMemAvailable:   2 kB\n")
    assert jobs.read_kilobytes(tmp_path / "meminfo", "MemAvailable") == 2048
    assert jobs.read_kilobytes(tmp_path / "meminfo", "MemFree") is None
    assert jobs.read_kilobytes(tmp_path / "none", "MemAvailable") is None
