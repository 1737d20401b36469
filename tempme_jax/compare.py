"""Methods against each other: each is trained with several seeds, each run in its own process."""

import csv
import dataclasses
import io
import json
import os
import pathlib
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tempme_jax.config import from_flags
from tempme_jax.launching import launch_process
from tempme_jax.methods import parts
from tempme_jax.options import whole
from tempme_jax.results import protocols, read_results, replace_text, summaries

# What a run is told by compare itself, and what to say instead.
OWN = {
    "config": "the config file",
    "config.seed": "the seeds",
    "config.model.method": "the methods",
    "workdir": "the workdir",
}
COLUMNS = (
    *("Method", "Runs", "Trains (M)", "GFLOPs", "Tokens"),
    *("R@1", "R-Sum", "MnR", "Videos/s", "Seconds", "Memory (GiB)"),
)
# What the paper prints of a row, under which head, and how.
PRINTED = {
    "trainable": ("Trains (M)", ".2f"),
    "gflops": ("GFLOPs", ".1f"),
    "tokens": ("Tokens", "d"),
    "R@1": ("R@1", ".1f"),
    "R-Sum": ("R-Sum", ".1f"),
}
TITLE = "Text to video: mean ± standard deviation over seeds"
APART = (
    "Columns of the paper are what it prints for its own backbone and data set, as far as known: "
    "hold the order of rows against them, not single numbers, unless both are of the same."
)
SPEEDS = "speeds.json"


@dataclasses.dataclass(frozen=True)
class Entry:
    """A row of a comparison.

    Attributes:
        name: of the row, and of the folder of its runs.
        words: what stands behind the colon of --config, a method first: "tempme" or "dgl,b16".
        flags: more flags of its runs.
        printed: what the paper prints of it, by the names of `PRINTED`; None where it is not known.
    """

    name: str
    words: str
    flags: tuple[str, ...] = ()
    printed: Mapping[str, float | None] = dataclasses.field(default_factory=dict)


def run(
    config_file: str | os.PathLike,
    entries: Sequence[Entry | str],
    seeds: int | Sequence[int] = 3,
    *,
    workdir: str | os.PathLike,
    overrides: Sequence[str] = (),
    speeds: bool = True,
    launch: Callable[[list[str]], tuple[int, list[str]]] | None = None,
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
        launch: runs a command, shows what it prints, and returns its exit code and last lines.

    Returns:
        The exit code: 0, or 1 if a run failed; the others are finished and in the table.

    Raises:
        ValueError, OSError: if a method, a seed, the file or a flag cannot be; nothing ran then.
    """
    launch = launch or launch_process
    runs = checked(config_file, entries, seeds, overrides)
    flags = {(e.name, s): flags_of(config_file, e, s, overrides) for e, s in runs}
    configs = {one: from_flags(flags[one]).as_json() for one in flags}
    results, failed = [], []
    for number, (entry, seed) in enumerate(runs, start=1):
        name = f"{entry.name}, seed {seed} (run {number} of {len(runs)})"
        config = configs[entry.name, seed]
        folder = folder_of(workdir, entry, seed)
        found, _ = outcome(folder, config)
        print(f"{name}: {folder}{', already finished' if found else ''}", flush=True)
        if not found:
            command = ["-m", "tempme_jax.main", *flags[entry.name, seed], f"--workdir={folder}"]
            code, lines = launch([sys.executable, *command])
            found, problem = outcome(folder, config)
            if code:
                found, problem = None, f"exit code {code}"
        if found:
            results.append({"name": entry.name, "folder": str(folder), **found})
        else:
            print(f"{name}: FAILED, {problem}; the others go on", flush=True)
            again = shlex.join(["python", *command])
            failed.append({"run": name, "problem": problem, "last_lines": lines, "command": again})
    order = {entry.name: number for number, (entry, _) in enumerate(runs)}
    results.sort(key=lambda found: order[found["name"]])
    rows = summaries(results)
    measured = measure_speeds(results, workdir, launch) if speeds and results else {}
    printed = {entry.name: entry.printed for entry, _ in runs}
    for row in rows:
        row["videos_per_second"] = measured.get(row["name"])
        row["printed"] = dict(printed[row["name"]])
    report(rows, results, failed, workdir)
    return 1 if failed else 0


def folder_of(workdir: str | os.PathLike, entry: Entry, seed: int) -> pathlib.Path:
    """Where a run lies; its name may hold what no file name should."""
    name = "".join(c if c.isalnum() or c in "+-_.," else "_" for c in entry.name)
    return pathlib.Path(workdir) / name / f"seed_{seed}"


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
        parts(entry.words.split(",")[0])
    seeds = range(whole("seeds", seeds, least=1)) if isinstance(seeds, int) else seeds
    seeds = [whole("one of seeds", seed, least=0) for seed in seeds]
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


def measure_speeds(
    results: list[dict[str, Any]],
    workdir: str | os.PathLike,
    launch: Callable[[list[str]], tuple[int, list[str]]],
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


def outcome(folder: pathlib.Path, config: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """The results in a folder, if they are of these settings; else None and why not."""
    try:
        results = read_results(folder / "results.json")
    except (OSError, ValueError) as error:
        return None, str(error)
    if results["config"] != config:
        return None, f"{folder} holds results of other settings; choose another workdir"
    return results, ""


def report(
    rows: list[dict[str, Any]],
    results: list[dict[str, Any]],
    failed: list[dict[str, Any]],
    workdir: str | os.PathLike,
) -> None:
    """Prints the table and what failed, and saves all of it."""
    from tempme_jax import plots
    from tempme_jax.reports import console, new_table

    folder, out = pathlib.Path(workdir), console()
    lines = protocols(results)
    lines += [APART] if any(row["printed"] for row in rows) else []
    folder.mkdir(parents=True, exist_ok=True)
    found = {"rows": rows, "protocols": lines, "failed": failed, "results": results}
    replace_text(folder / "compare.json", json.dumps(found, indent=1) + "\n")
    if rows:
        replace_text(folder / "compare.csv", as_csv(rows))
        replace_text(folder / "compare.md", as_markdown(rows, lines))
        plots.accuracy_and_cost(rows, folder / "compare.png")
        table = new_table(TITLE)
        for name in columns(rows):
            table.add_column(name, justify="left" if name == "Method" else "right")
        for row in rows:
            table.add_row(*cells(row, rows))
        out.print(table)
    for line in [*lines, f"Saved: {folder}/compare.{{{'csv,json,md,png' if rows else 'json'}}}"]:
        out.print(line, markup=False)
    for one in failed:
        told = "\n  ".join([f"{one['run']} FAILED: {one['problem']}", *one["last_lines"]])
        out.print(f"\n{told}\nTo run it alone: {one['command']}", markup=False)


def columns(rows: list[dict[str, Any]]) -> list[str]:
    """The heads of the columns: ours, and behind them those of the paper, if it has any."""
    return [*COLUMNS, *(f"paper: {PRINTED[name][0]}" for name in printed_columns(rows))]


def printed_columns(rows: list[dict[str, Any]]) -> list[str]:
    """Which columns of the paper are known for a row at least."""
    return [name for name in PRINTED if any(known(row, name) for row in rows)]


def known(row: dict[str, Any], name: str) -> bool:
    """Whether it is known what the paper prints of a row."""
    return row["printed"].get(name) is not None


def cells(row: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    """A row under its `columns`."""
    memory, speed, measured = (
        row["peak_memory_bytes"], row["videos_per_second"], row["text_to_video"],
    )  # fmt: skip
    ours = [
        row["name"],
        str(len(row["seeds"])),
        f"{row['trainable'] / 1e6:.3f}",
        f"{row['paper']:.4g}",
        str(row["tokens"]),
        *(shown_spread(measured[name], ".1f") for name in ("R@1", "R-Sum", "MnR")),
        "-" if speed is None else f"{speed:.3g}",
        shown_spread(row["seconds"], ".0f"),
        "-" if memory is None else f"{memory / 2**30:.2f}",
    ]
    theirs = [
        format(row["printed"][name], PRINTED[name][1]) if known(row, name) else "-"
        for name in printed_columns(rows)
    ]
    return ours + theirs


def shown_spread(value: dict[str, float | None], spec: str) -> str:
    """A mean, with its deviation if there is one."""
    deviation = value["deviation"]
    shown = "" if deviation is None else f" ± {deviation:{spec}}"
    return f"{value['mean']:{spec}}{shown}"


def as_markdown(rows: list[dict[str, Any]], lines: list[str]) -> str:
    """The table on the screen, for a README."""
    heads = columns(rows)
    table = [heads, ["---", *["---:"] * (len(heads) - 1)], *(cells(row, rows) for row in rows)]
    text = [f"| {' | '.join(one)} |" for one in table]
    return "\n".join([f"{TITLE}.", "", *text, "", *lines, ""])


def as_csv(rows: list[dict[str, Any]]) -> str:
    """All numbers, one column each: means and deviations of both directions, too."""
    flat = [dict(flattened(row)) for row in rows]
    stream = io.StringIO()
    names = dict.fromkeys(name for row in flat for name in row)
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return stream.getvalue()


def flattened(row: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a row, named by the path to them."""
    for name, value in row.items():
        if isinstance(value, dict):
            yield from flattened(value, f"{before}{name} ")
        else:
            yield before + name, " ".join(map(str, value)) if name == "seeds" else value
