"""A history of measurements: each run of `tempme bench all` adds a line of JSON to a file."""

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypedDict

from tempme_jax import fields
from tempme_jax.files import write_text
from tempme_jax.version import __version__

# The libraries whose versions matter for speed.
LIBRARIES = ("jax", "jaxlib", "flax", "numpy", "lancedb", "av", "onnxruntime")
# The benchmarks, and options that make them small enough to be run one after the other.
BENCHMARKS: dict[str, tuple[str, ...]] = {
    "costs": ("--table", "2"),
    "start": ("--rounds", "3"),
    "encode": ("--methods", "clip,tempme", "--batch", "1", "--rounds", "5"),
    "growth": ("--frames", "12,24", "--batches", "1,2", "--rounds", "3"),
    "runtime": ("--rounds", "5"),
    "index": ("--videos", "6"),
    "search": ("--windows", "20000", "--queries", "200"),
    "train": ("configs/moving_shapes.py:tempme", "--rounds", "3"),
    "data": ("configs/moving_shapes.py:tempme", "--steps", "5"),
    "device": ("--minutes", "2"),
}
# Seconds after which a benchmark is given up.
PATIENCE = 1200.0


class Result(TypedDict, total=False):
    """The result of one benchmark: its figures, or why it was skipped.

    Attributes:
        command: the command that anyone can give.
        seconds: how long it took.
        figures: what it printed with --json.
        skipped: why there are no figures.
    """

    command: str
    seconds: float
    figures: Any
    skipped: str


class Record(TypedDict):
    """A line of the history.

    Attributes:
        date: when the run began, in UTC.
        version: version of the package.
        machine: processor, cores, memory and system.
        versions: versions of Python and of the libraries.
        benchmarks: the results, by name.
    """

    date: str
    version: str
    machine: dict[str, Any]
    versions: dict[str, str]
    benchmarks: dict[str, Any]


def run_benchmarks(
    chosen: Mapping[str, tuple[str, ...]],
    known: set[str],
    *,
    show: Callable[[str], AbstractContextManager[None]],
) -> Record:
    """Run benchmarks, each in a process of its own, and return their record.

    Args:
        chosen: options of the benchmarks, by name.
        known: the benchmarks that this version has.
        show: called with the name of each, returns a context that is open while it runs.
    """
    record = make_record()
    for name, options in chosen.items():
        if name not in known:
            record["benchmarks"][name] = Result(skipped="this version has no such benchmark")
            continue
        with show(name):
            record["benchmarks"][name] = run_benchmark(name, options)
    return record


def run_benchmark(name: str, options: tuple[str, ...]) -> Result:
    """Run one benchmark in a process; what keeps it from running is the reason to skip it."""
    words = ["bench", name, *options, "--json"]
    command = [sys.executable, "-m", "tempme_jax.cli", *words]
    told = " ".join(["tempme", *words])
    result = Result(command=told)
    started = time.monotonic()
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return result | Result(skipped=f"it was not done within {PATIENCE / 60:.0f} minutes")
    seconds = round(time.monotonic() - started, 1)
    if process.returncode:
        lines = process.stderr.strip().splitlines() or [f"exit code {process.returncode}"]
        return result | Result(seconds=seconds, skipped=lines[-1].removeprefix("Error: "))
    try:
        figures = fields.parse_json(process.stdout, f"what `{told}` prints")
    except ValueError as error:
        return result | Result(seconds=seconds, skipped=str(error))
    return result | Result(seconds=seconds, figures=figures)


def make_record() -> Record:
    """Make a record without results."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return Record(
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        version=__version__,
        machine=describe_machine(),
        versions=versions,
        benchmarks={},
    )


def describe_machine() -> dict[str, Any]:
    """Describe the machine: what its figures may be compared with."""
    usable = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": read_processor(),
        "cores": len(usable),
        "memory_gib": round(pages / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def read_processor() -> str:
    """Return the name of the processor, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def append_record(file: Path, record: Record) -> None:
    """Add a record to a history, whole or not at all; the file is made if it is missing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    if before and not before.endswith("\n"):
        before += "\n"
    write_text(file, before + json.dumps(record) + "\n")


def read_history(file: Path) -> list[Record]:
    """Read all records of a history, oldest first.

    Raises:
        ValueError: a line is damaged; it says which.
    """
    records = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            records.append(fields.parse_fields(line, Record, f"{file}, line {number}"))
    return records
