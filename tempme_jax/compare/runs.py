"""Methods against each other: each is trained with several seeds, each run in its own process."""

import dataclasses
import json
import os
import pathlib
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tempme_jax.checks import require_whole
from tempme_jax.compare.launch import launch_process
from tempme_jax.compare.report import report
from tempme_jax.methods import split_method
from tempme_jax.training.flags import from_flags
from tempme_jax.training.results import read_results, summaries

# What a run is told by compare itself, and what to say instead.
OWN = {
    "config": "the config file",
    "config.seed": "the seeds",
    "config.model.method": "the methods",
    "workdir": "the workdir",
}
SPEEDS = "speeds.json"
# Runs a command, shows what it prints, and returns its exit code and last lines.
Launch = Callable[[list[str]], tuple[int, list[str]]]


@dataclasses.dataclass(frozen=True)
class Entry:
    """A row of a comparison.

    Attributes:
        name: of the row, and of the folder of its runs.
        words: what stands behind the colon of --config, a method first: "tempme" or "dgl,b16".
        flags: more flags of its runs.
        printed: what the paper prints of it, by the names in `compare_report.PRINTED`;
            None where it is not known.
    """

    name: str
    words: str
    flags: tuple[str, ...] = ()
    printed: Mapping[str, float | None] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Planned:
    """One run of a comparison.

    Attributes:
        entry, seed: which.
        flags: all but its workdir.
        folder: its workdir.
        config: its settings, as its results will hold them.
    """

    entry: Entry
    seed: int
    flags: list[str]
    folder: pathlib.Path
    config: dict[str, Any]

    @property
    def command(self) -> list[str]:
        """What Python is given."""
        return ["-m", "tempme_jax.main", *self.flags, f"--workdir={self.folder}"]

    def launched(self, launch: Launch) -> tuple[dict[str, Any] | None, str, list[str]]:
        """Its results, or None, what went wrong, and the last lines that it printed."""
        code, lines = launch([sys.executable, *self.command])
        found, problem = self.outcome()
        return (None, f"exit code {code}", lines) if code else (found, problem, lines)

    def outcome(self) -> tuple[dict[str, Any] | None, str]:
        """The results in its folder, if they are of its settings; else None and why not."""
        try:
            results = read_results(self.folder / "results.json")
        except (OSError, ValueError) as error:
            return None, str(error)
        if results["config"] != self.config:
            return None, f"{self.folder} holds results of other settings; choose another workdir"
        return results, ""


def run(
    config_file: str | os.PathLike,
    entries: Sequence[Entry | str],
    seeds: int | Sequence[int] = 3,
    *,
    workdir: str | os.PathLike,
    overrides: Sequence[str] = (),
    speeds: bool = True,
    launch: Launch | None = None,
) -> int:
    """Trains and evaluates each entry with each seed, then prints one table and saves it.

    Runs lie in WORKDIR/NAME/seed_S. Those with results of the same settings are not run again,
    unfinished ones go on. WORKDIR gets compare.csv, compare.json, compare.md and compare.png.

    Args:
        config_file: such as configs/msrvtt.py; its `get_config` takes the words of an entry.
        entries: rows, or just names of `METHODS`.
        seeds: how many (3 = 0, 1, 2), or which.
        workdir: where all goes.
        overrides: more flags of every run, such as --config.train.steps=100.
        speeds: whether to measure, when all are trained, how fast they encode videos, in turns.
        launch: what starts a run.

    Returns:
        The exit code: 0, or 1 if a run failed; the others are finished and in the table.

    Raises:
        ValueError, OSError: if a method, a seed, the file or a flag cannot be; nothing ran then.
    """
    launch = launch or launch_process
    planned = plan(config_file, entries, seeds, overrides, workdir)
    results, failed = [], []
    for number, one in enumerate(planned, start=1):
        name = f"{one.entry.name}, seed {one.seed} (run {number} of {len(planned)})"
        found, _ = one.outcome()
        print(f"{name}: {one.folder}{', already finished' if found else ''}", flush=True)
        problem, lines = "", []
        if not found:
            found, problem, lines = one.launched(launch)
        if found:
            results.append({"name": one.entry.name, "folder": str(one.folder), **found})
            continue
        print(f"{name}: FAILED, {problem}; the others go on", flush=True)
        again = shlex.join(["python", *one.command])
        failed.append({"run": name, "problem": problem, "last_lines": lines, "command": again})
    rows = rows_of(results, planned)
    measured = measure_speeds(results, workdir, launch) if speeds and results else {}
    rows = [{**row, "videos_per_second": measured.get(row["name"])} for row in rows]
    report(rows, results, failed, workdir)
    return 1 if failed else 0


def plan(
    config_file: str | os.PathLike,
    entries: Sequence[Entry | str],
    seeds: int | Sequence[int],
    overrides: Sequence[str],
    workdir: str | os.PathLike,
) -> list[Planned]:
    """The runs, all entries with one seed before the next, if everything asked for can be."""
    planned = []
    for entry, seed in checked(config_file, entries, seeds, overrides):
        flags = flags_of(config_file, entry, seed, overrides)
        # Its name may hold what no file name should.
        name = "".join(c if c.isalnum() or c in "+-_.," else "_" for c in entry.name)
        folder = pathlib.Path(workdir) / name / f"seed_{seed}"
        planned.append(Planned(entry, seed, flags, folder, from_flags(flags).as_json()))
    return planned


def checked(
    config_file: str | os.PathLike,
    entries: Sequence[Entry | str],
    seeds: int | Sequence[int],
    overrides: Sequence[str],
) -> list[tuple[Entry, int]]:
    """The runs, all entries with one seed before the next, if everything asked for can be."""
    if isinstance(entries, str):
        raise ValueError(f"methods={entries!r} must be a list of different names, one or more")
    entries = [Entry(one, one) if isinstance(one, str) else one for one in entries]
    names = [entry.name for entry in entries]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"methods={names!r} must be a list of different names, one or more")
    for entry in entries:
        split_method(entry.words.split(",")[0])
    seeds = range(require_whole("seeds", seeds, least=1)) if isinstance(seeds, int) else seeds
    seeds = [require_whole("one of seeds", seed, least=0) for seed in seeds]
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds={seeds} must be different numbers, one or more")
    if not pathlib.Path(config_file).is_file():
        raise FileNotFoundError(
            f"there is no config file {os.fspath(config_file)}; name a file such as "
            "configs/msrvtt.py, without a method behind it"
        )
    for flag in overrides:
        name = flag.lstrip("-").split("=")[0]
        if name in OWN:
            raise ValueError(f"{flag} is set by compare for every run; choose {OWN[name]} instead")
    return [(entry, seed) for seed in seeds for entry in entries]


def flags_of(
    config_file: str | os.PathLike, entry: Entry, seed: int, overrides: Sequence[str]
) -> list[str]:
    """The flags of a run, but for its workdir; what the user gives comes last, and wins."""
    config = f"--config={os.fspath(config_file)}:{entry.words}"
    return [config, f"--config.seed={seed}", *entry.flags, *overrides]


def rows_of(results: list[dict[str, Any]], planned: list[Planned]) -> list[dict[str, Any]]:
    """A row for each entry that has results, in the order of the entries."""
    entries = list(dict.fromkeys(one.entry.name for one in planned))
    printed = {one.entry.name: dict(one.entry.printed) for one in planned}
    rows = summaries(sorted(results, key=lambda found: entries.index(found["name"])))
    return [{**row, "printed": printed[row["name"]]} for row in rows]


def measure_speeds(
    results: list[dict[str, Any]],
    workdir: str | os.PathLike,
    launch: Launch,
) -> dict[str, float]:
    """Videos a second of each row, in a process of its own: this one shall hold no device."""
    file = pathlib.Path(workdir) / SPEEDS
    folders = {result["name"]: result["folder"] for result in results}
    print("How fast they encode videos, in turns:", flush=True)
    command = [sys.executable, "-m", "tempme_jax.cli", "bench", "runs", *folders.values()]
    code, _ = launch([*command, f"--out={file}"])
    if code or not file.is_file():
        print(f"speeds: FAILED, exit code {code}", flush=True)
        return {}
    measured = {one["method"]: one for one in json.loads(file.read_text(encoding="utf-8"))}
    return {name: measured[folder]["videos_per_second"] for name, folder in folders.items()}
