"""Commands that are run for the user show what they print, end when they should, and can save."""

import os
import signal
import sys
import textwrap
import time

import pytest

from tempme_jax.compare import launch
from tempme_jax.compare.launch import launch_process


def python(program):
    return [sys.executable, "-c", textwrap.dedent(program)]


def test_what_a_process_prints_is_shown_and_its_last_lines_are_kept(capfd):
    code, lines = launch_process(
        python("""
        import sys
        for number in range(100):
            print("line", number)
        print("10 %\\r50 %\\r\\033[1mdone\\033[0m é", flush=True)
        sys.exit("an error")
        """)
    )
    assert code == 1
    assert lines == [*(f"line {number}" for number in range(87, 100)), "done é", "an error"]
    out = capfd.readouterr().out
    assert out.startswith("line 0\nline 1\n")
    assert out.endswith("an error\n")


def test_what_a_process_prints_is_shown_while_it_runs(tmp_path, monkeypatch):
    """The process waits for a file that is made once its first line was shown."""
    go = tmp_path / "go"

    def print_and_go(text, **options):
        if "ready" in text:
            go.touch()

    monkeypatch.setattr(launch, "print", print_and_go, raising=False)
    program = f"""
        import pathlib, time
        print("ready", flush=True)
        for _ in range(200):
            if pathlib.Path({str(go)!r}).exists():
                break
            time.sleep(0.05)
        else:
            raise SystemExit(1)
        """
    assert launch_process(python(program))[0] == 0


def test_a_process_of_a_terminal_has_a_terminal(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "91")
    program = "import os, sys; print(sys.stdout.isatty(), os.get_terminal_size(1).columns)"
    assert launch_process(python(program)) == (0, ["True 91"])


def test_processes_that_outlive_a_run_do_not_hold_it_up():
    program = """
        import subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(20)"])
        print(child.pid, flush=True)
        """
    started = time.monotonic()
    code, [pid] = launch_process(python(program))
    os.kill(int(pid), signal.SIGKILL)
    assert code == 0
    assert time.monotonic() - started < 10


def test_an_interrupt_ends_the_run_and_lets_it_save(tmp_path, monkeypatch):
    saved = tmp_path / "saved"
    program = f"""
        import pathlib, signal, sys, time
        def save(number, frame):
            print("saving", flush=True)
            pathlib.Path({str(saved)!r}).touch()
            sys.exit(0)
        signal.signal(signal.SIGTERM, save)
        print("ready", flush=True)
        time.sleep(20)
        """

    def interrupt(text, **options):
        if "ready" in text:
            raise KeyboardInterrupt

    monkeypatch.setattr(launch, "print", interrupt, raising=False)
    with pytest.raises(KeyboardInterrupt):
        launch_process(python(program))
    assert saved.exists()
