"""Comparisons: train each method with several seeds, each run in a process of its own."""

import dataclasses
import functools
import itertools
import json
import os
import pathlib
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tempme_jax.checks import require_whole
from tempme_jax.compare.figures import Printed
from tempme_jax.compare.jobs import Jobs
from tempme_jax.compare.launch import launch_process
from tempme_jax.compare.report import report_comparison
from tempme_jax.methods import split_method
from tempme_jax.training.config import Config, DataSettings
from tempme_jax.training.flags import find_config_file, parse_flags
from tempme_jax.training.identity import describe_data, require_same_data
from tempme_jax.training.results import read_results, summarize
from tempme_jax.training.splits import prepare_here
from tempme_jax.training.workdir import SplitIdentity, read_identity

# Flags that a comparison sets for every run, and what the user chooses instead.
OWN = {
    "config": "the config file",
    "config.seed": "the seeds",
    "config.model.method": "the methods",
    "workdir": "the workdir",
}
SPEEDS = "speeds.json"
# A function that runs a command, prints its output, and returns exit code and last lines.
Launch = Callable[[list[str]], tuple[int, list[str]]]


@dataclasses.dataclass(frozen=True)
class Contender:
    """One row of a comparison: a method with its settings.

    Attributes:
        name: name of the row, and of the folder of its runs.
        words: the words after the colon of --config, a method first: "tempme" or "dgl,b16".
        flags: more flags of its runs.
        printed: the figures that the paper prints for it, by the names of `compare.figures`.
        note: what to know of these figures.
    """

    name: str
    words: str
    flags: tuple[str, ...] = ()
    printed: Mapping[str, Printed] = dataclasses.field(default_factory=dict)
    note: str = ""


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """One run of a comparison.

    Attributes:
        contender, seed: the row that it belongs to, and its seed.
        flags: all its flags but --workdir.
        folder: its workdir.
        config: its settings.
        log: a service that also gets its curves and results.
    """

    contender: Contender
    seed: int
    flags: list[str]
    folder: pathlib.Path
    config: Config
    log: str | None = None

    @property
    def command(self) -> list[str]:
        """Arguments of the Python interpreter."""
        plugins = [f"--plugin={source}" for source in self.config.plugins]
        more = [f"--log={self.log}"] if self.log else []
        command = ["-m", "tempme_jax.main", *self.flags, *plugins, *more]
        return [*command, f"--workdir={self.folder}"]

    def read_outcome(self) -> tuple[dict[str, Any] | None, str]:
        """Return the results in its folder, or None and why they are not those of this run.

        They are, if they have its settings, are of the data that are there now, and the training
        has come to its end.
        """
        try:
            results = read_results(self.folder / "results.json")
            if results["config"] != self.config.to_json():
                problem = "holds results of other settings; choose another workdir"
                return None, f"{self.folder} {problem}"
            is_trained = results["step"] > 0 or not results["costs"]["trainable"]
            if not results.get("finished", is_trained):
                return None, f"{self.folder} holds results of a training that is not finished"
            now = describe_data_now(self.config.data)
            require_same_data(self.folder, read_identity(self.folder), now)
        except (OSError, ValueError) as error:
            return None, str(error)
        return results, ""


@functools.cache
def describe_data_now(data: DataSettings) -> dict[str, SplitIdentity]:
    """Return what distinguishes the splits of the data that the settings name, as they are now."""
    prepare_here(data)
    return describe_data(data)


def run(
    config_file: str | os.PathLike,
    contenders: Sequence[Contender | str],
    seeds: int | Sequence[int] = 3,
    *,
    workdir: str | os.PathLike,
    overrides: Sequence[str] = (),
    speeds: bool = True,
    jobs: int = 1,
    log: str | None = None,
    launch: Launch | None = None,
) -> int:
    """Train and evaluate each contender with each seed; print one table and save it.

    Runs go to WORKDIR/NAME/seed_S. Finished ones with the same settings are not repeated,
    interrupted ones resume. The table is saved as compare.csv, .json, .md and .png.

    Args:
        config_file: such as configs/msrvtt.py; it accepts the words of a contender.
        contenders: rows of the table, or just names of `METHODS`.
        seeds: their number (3 stands for 0, 1, 2), or a list of them.
        workdir: folder for all runs.
        overrides: more flags of every run, such as --config.train.steps=100.
        speeds: also measure how fast the trained models encode videos.
        jobs: most runs at the same time; fewer while memory is short, see `Jobs`.
        log: a service that also gets curves and results, one of `tracking.SERVICES`.
        launch: function that runs a command; None for `launch_process`.

    Returns:
        The exit code: 0, or 1 if a run failed; the others are in the table.

    Raises:
        ValueError, OSError: before any run, if a method, a seed, the file or a flag is wrong.
    """
    results, failed = [], []
    planned = plan_runs(config_file, contenders, seeds, overrides, workdir, log)
    finished = finish_runs(planned, jobs, launch)
    for one, (label, found, problem, lines) in zip(planned, finished, strict=True):
        if found:
            results.append({"name": one.contender.name, "folder": str(one.folder), **found})
        else:
            failed.append({"run": label, "problem": problem, "last_lines": lines})
            failed[-1]["command"] = shlex.join(["python", *one.command])
    rows = summarize_contenders(results, planned)
    measured = measure_speeds(results, workdir, launch) if speeds and results else {}
    rows = [{**row, "videos_per_second": measured.get(row["name"])} for row in rows]
    report_comparison(rows, results, failed, workdir)
    return 1 if failed else 0


def finish_runs(
    planned: list[PlannedRun], jobs: int, launch: Launch | None
) -> list[tuple[str, dict[str, Any] | None, str, list[str]]]:
    """Finish all runs, up to `jobs` at the same time; return the label and outcome of each."""
    require_whole("jobs", jobs, least=1)
    labels = [
        f"{one.contender.name}, seed {one.seed} (run {number} of {len(planned)})"
        for number, one in enumerate(planned, start=1)
    ]

    def finish(number: int, launch: Launch) -> tuple:
        return labels[number], *finish_run(planned[number], labels[number], launch)

    if jobs == 1:
        return [finish(number, launch or launch_process) for number in range(len(planned))]
    names = [f"{one.contender.name}, seed {one.seed}" for one in planned]
    folders = [one.folder for one in planned]
    return Jobs(jobs, names, folders, launch).finish_all(finish)


def finish_run(
    one: PlannedRun, label: str, launch: Launch
) -> tuple[dict[str, Any] | None, str, list[str]]:
    """Execute a run unless it is finished.

    Returns:
        Its results or None, the problem, and its last lines of output.
    """
    found, _ = one.read_outcome()
    print(f"{label}: {one.folder}{', already finished' if found else ''}", flush=True)
    if found:
        return found, "", []
    code, lines = launch([sys.executable, *one.command])
    found, problem = (None, f"exit code {code}") if code else one.read_outcome()
    if not found:
        print(f"{label}: FAILED, {problem}; the others continue", flush=True)
    return found, problem, lines


def plan_runs(
    config_file: str | os.PathLike,
    contenders: Sequence[Contender | str],
    seeds: int | Sequence[int],
    overrides: Sequence[str],
    workdir: str | os.PathLike,
    log: str | None = None,
) -> list[PlannedRun]:
    """Return the runs: all contenders with the first seed, then with the next.

    Raises:
        ValueError, OSError: if a choice or a setting is wrong.
    """
    describe_data_now.cache_clear()  # they may have changed since an earlier comparison
    rows = check_contenders(contenders)
    seeds = check_seeds(seeds)
    config_file = find_config_file(os.fspath(config_file))
    for flag in overrides:
        name = flag.lstrip("-").split("=")[0]
        if name in OWN:
            raise ValueError(f"{flag} is set by compare for every run; choose {OWN[name]} instead")
    planned = []
    for seed, contender in itertools.product(seeds, rows):
        flags = make_flags(config_file, contender, seed, overrides)
        # A name may hold characters that a file name should not.
        name = "".join(c if c.isalnum() or c in "+-_.," else "_" for c in contender.name)
        folder = pathlib.Path(workdir) / name / f"seed_{seed}"
        planned.append(PlannedRun(contender, seed, flags, folder, parse_flags(flags), log))
    return planned


def check_contenders(contenders: Sequence[Contender | str]) -> list[Contender]:
    """Return the rows of a comparison; raise a ValueError unless their names all differ."""
    listed = [contenders] if isinstance(contenders, str) else contenders
    rows = [Contender(one, one) if isinstance(one, str) else one for one in listed]
    names = [one.name for one in rows]
    if isinstance(contenders, str) or not names or len(set(names)) < len(names):
        raise ValueError(f"methods={names!r} must be a list of different names, one or more")
    for one in rows:
        split_method(one.words.split(",")[0])
    return rows


def check_seeds(seeds: int | Sequence[int]) -> list[int]:
    """Return a list of seeds; raise a ValueError unless they are whole numbers that differ."""
    if isinstance(seeds, int):
        return list(range(require_whole("seeds", seeds, least=1)))
    found = [require_whole("one of seeds", seed, least=0) for seed in seeds]
    if not found or len(set(found)) < len(found):
        raise ValueError(f"seeds={found} must be different numbers, one or more")
    return found


def make_flags(
    config_file: str | os.PathLike, contender: Contender, seed: int, overrides: Sequence[str]
) -> list[str]:
    """Return the flags of a run without its workdir; the user's come last, so they win."""
    config = f"--config={os.fspath(config_file)}:{contender.words}"
    return [config, f"--config.seed={seed}", *contender.flags, *overrides]


def summarize_contenders(
    results: list[dict[str, Any]], planned: list[PlannedRun]
) -> list[dict[str, Any]]:
    """Return a row for each contender that has results, in the order of the contenders."""
    contenders = {one.contender.name: one.contender for one in planned}
    names = list(contenders)
    rows = summarize(sorted(results, key=lambda found: names.index(found["name"])))
    return [
        {**row, "printed": dict(one.printed), "note": one.note}
        for row in rows
        for one in [contenders[row["name"]]]
    ]


def measure_speeds(
    results: list[dict[str, Any]], workdir: str | os.PathLike, launch: Launch | None
) -> dict[str, float]:
    """Measure videos per second of each row, in a process of its own: this one takes no device."""
    file = pathlib.Path(workdir) / SPEEDS
    folders = {result["name"]: result["folder"] for result in results}
    print("Measuring how fast they encode videos, in turns:", flush=True)
    sources = [one for result in results for one in result["config"].get("plugins", [])]
    plugins = [f"--plugin={source}" for source in dict.fromkeys(sources)]
    command = [sys.executable, "-m", "tempme_jax.cli", "bench", "runs"]
    command += [*folders.values(), *plugins]
    code, _ = (launch or launch_process)([*command, f"--out={file}"])
    if code or not file.is_file():
        print(f"speeds: FAILED, exit code {code}", flush=True)
        return {}
    measured = {one["method"]: one for one in json.loads(file.read_text(encoding="utf-8"))}
    return {name: measured[folder]["videos_per_second"] for name, folder in folders.items()}
