"""Runs at the same time, each in a process of its own, as many as memory allows."""

import concurrent.futures
import dataclasses
import functools
import pathlib
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from tempme_jax.compare.launch import launch_process

# Seconds between looks at processes and memory.
EVERY = 0.5
# Seconds by which the time of a file may be behind the clock.
TICK = 0.02
# A run must find room for so many times the most memory that a run has taken so far.
SPARE = 1.25
MEMORY = pathlib.Path("/proc/meminfo")
LOG = "metrics.jsonl"

Launch = Callable[[list[str]], tuple[int, list[str]]]


@dataclasses.dataclass(frozen=True)
class Running:
    """A run that is being trained: its process, its workdir, and when it began."""

    process: subprocess.Popen
    folder: pathlib.Path
    began: float

    def has_trained(self) -> bool:
        """Return whether a step has been made: then its data are prepared and its memory known."""
        log = self.folder / LOG
        return log.is_file() and log.stat().st_mtime >= self.began


class Jobs:
    """Runs that share this machine.

    The second one begins when the first has made a step, since it prepares the data that all share;
    and each begins only if the memory that is free holds what a run has taken so far.

    Args:
        most: how many run at the same time.
        names: names of all runs, which stand before the lines that they print.
        folders: their workdirs.
        launch: function that runs a command; None for `launch_process`.
    """

    def __init__(
        self,
        most: int,
        names: Sequence[str],
        folders: Sequence[pathlib.Path],
        launch: Launch | None = None,
    ):
        self.most, self.names, self.folders, self.launch = most, names, folders, launch
        self.running: dict[int, Running] = {}
        self.peak = 0
        self.stopping = threading.Event()
        self.starting, self.printing, self.changing = (threading.Lock() for _ in range(3))

    def finish_all(self, finish: Callable[[int, Launch], Any]) -> list[Any]:
        """Return what `finish` returns for the number of each run and a function that launches it.

        An interrupt ends all processes, which save their state, and is raised again.
        """
        with concurrent.futures.ThreadPoolExecutor(self.most) as pool:
            waiting = [
                pool.submit(finish, number, functools.partial(self.launch_run, number))
                for number in range(len(self.names))
            ]
            try:
                first = concurrent.futures.FIRST_EXCEPTION
                for one in concurrent.futures.wait(waiting, return_when=first).done:
                    one.result()  # raises what went wrong
                return [one.result() for one in waiting]
            except BaseException:
                self.stopping.set()
                for one in waiting:
                    one.cancel()
                self.end_processes()
                raise

    def launch_run(self, number: int, command: list[str]) -> tuple[int, list[str]]:
        """Run a command when there is room; return its exit code and last lines."""
        if self.launch:
            return self.launch(command)
        listed, lines = False, Lines(self.names[number], self.printing)
        began = 0.0

        def begin(process: subprocess.Popen) -> None:
            nonlocal listed
            with self.changing:
                self.running[number] = Running(process, self.folders[number], began)
            listed = True
            self.starting.release()
            if self.stopping.is_set():
                process.terminate()

        self.starting.acquire()
        try:
            self.wait_for_room()
            if self.stopping.is_set():
                return 1, ["stopped before it began"]
            began = time.time() - TICK
            return launch_process(command, show=lines.add, alone=False, begin=begin)
        finally:
            if not listed:
                self.starting.release()
            lines.end()
            with self.changing:
                self.running.pop(number, None)

    def wait_for_room(self) -> None:
        """Wait until one more run can begin, or all are to stop."""
        while not self.stopping.is_set():
            with self.changing:
                others = list(self.running.values())
            used = [measure_process_peak(one.process.pid) for one in others]
            self.peak = max([self.peak, *used])
            free = measure_free_memory()
            fits = free is None or free >= SPARE * self.peak
            if not others or (fits and all(one.has_trained() for one in others)):
                return
            self.stopping.wait(EVERY)

    def end_processes(self) -> None:
        """Ask all processes to end; on SIGTERM a training saves its state."""
        with self.changing:
            for one in self.running.values():
                one.process.terminate()


class Lines:
    """Prints the whole lines of a run, each behind its name, so those of several stay apart."""

    def __init__(self, name: str, printing: threading.Lock):
        self.name, self.printing, self.rest = name, printing, ""

    def add(self, text: str) -> None:
        """Print the lines that are complete now."""
        *whole, self.rest = (self.rest + text).replace("\r\n", "\n").split("\n")
        with self.printing:
            for line in whole:
                # Of a progress bar, which rewrites its line, the last version counts.
                print(f"{self.name} | {line.split(chr(13))[-1]}", flush=True)

    def end(self) -> None:
        """Print what is left."""
        if self.rest:
            self.add("\n")


def measure_process_peak(process: int) -> int:
    """Return the most bytes that a process has held so far; 0 where Linux does not tell."""
    return read_kilobytes(pathlib.Path(f"/proc/{process}/status"), "VmHWM") or 0


def measure_free_memory() -> int | None:
    """Return the bytes that programs can still take; None where Linux does not tell."""
    return read_kilobytes(MEMORY, "MemAvailable")


def read_kilobytes(file: pathlib.Path, name: str) -> int | None:
    """Return the bytes in the line "name: number kB" of a file of Linux; None without one."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    found = (line.split() for line in lines if line.startswith(f"{name}:"))
    return next((int(words[1]) * 1024 for words in found), None)
