"""Methods against each other: each is trained with several seeds, each run in its own process."""

import csv
import io
import json
import os
import pathlib
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tempme_jax.config import from_flags
from tempme_jax.launching import launch_process
from tempme_jax.methods import METHODS
from tempme_jax.options import known, whole
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
    *("R@1", "R-Sum", "MnR", "Seconds", "Memory (GiB)"),
)
TITLE = "Text to video: mean ± standard deviation over seeds"


def run(
    config_file: str | os.PathLike,
    methods: Sequence[str],
    seeds: int | Sequence[int] = 3,
    *,
    workdir: str | os.PathLike,
    overrides: Sequence[str] = (),
    launch: Callable[[list[str]], tuple[int, list[str]]] | None = None,
) -> int:
    """Trains and evaluates each method with each seed, then prints one table and saves it.

    Runs lie in WORKDIR/METHOD/seed_S. Those with results of the same settings are not run again,
    unfinished ones go on. WORKDIR gets compare.csv, compare.json, compare.md and compare.png.

    Args:
        config_file: such as configs/msrvtt.py; its `get_config` takes the method.
        methods: names of `METHODS`.
        seeds: how many (3 = 0, 1, 2), or which.
        workdir: where all goes.
        overrides: more flags of every run, such as --config.train.steps=100.
        launch: runs a command, shows what it prints, and returns its exit code and last lines.

    Returns:
        The exit code: 0, or 1 if a run failed; the others are finished and in the table.

    Raises:
        ValueError, OSError: if a method, a seed, the file or a flag cannot be; nothing ran then.
    """
    runs = checked(config_file, methods, seeds, overrides)
    flags = {one: flags_of(config_file, *one, overrides) for one in runs}
    configs = {one: from_flags(flags[one]).as_json() for one in runs}
    results, failed = [], []
    for number, (method, seed) in enumerate(runs, start=1):
        name = f"{method}, seed {seed} (run {number} of {len(runs)})"
        folder = pathlib.Path(workdir) / method / f"seed_{seed}"
        found, _ = outcome(folder, configs[method, seed])
        print(f"{name}: {folder}{', already finished' if found else ''}", flush=True)
        if not found:
            command = ["-m", "tempme_jax.main", *flags[method, seed], f"--workdir={folder}"]
            code, lines = (launch or launch_process)([sys.executable, *command])
            found, problem = outcome(folder, configs[method, seed])
            if code:
                found, problem = None, f"exit code {code}"
        if found:
            results.append(found)
        else:
            print(f"{name}: FAILED, {problem}; the others go on", flush=True)
            again = shlex.join(["python", *command])
            failed.append({"run": name, "problem": problem, "last_lines": lines, "command": again})
    report(sorted(results, key=lambda found: methods.index(found["method"])), failed, workdir)
    return 1 if failed else 0


def checked(
    config_file: str | os.PathLike,
    methods: Sequence[str],
    seeds: int | Sequence[int],
    overrides: Sequence[str],
) -> list[tuple[str, int]]:
    """The runs, all methods with one seed before the next, if everything asked for can be."""
    if isinstance(methods, str) or not methods or len(set(methods)) < len(methods):
        raise ValueError(f"methods={methods!r} must be a list of different names, one or more")
    for method in methods:
        known(method, METHODS, "method")
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
    return [(method, seed) for seed in seeds for method in methods]


def flags_of(
    config_file: str | os.PathLike, method: str, seed: int, overrides: Sequence[str]
) -> list[str]:
    """The flags of a run, but for its workdir."""
    return [f"--config={os.fspath(config_file)}:{method}", f"--config.seed={seed}", *overrides]


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
    results: list[dict[str, Any]], failed: list[dict[str, Any]], workdir: str | os.PathLike
) -> None:
    """Prints the table and what failed, and saves all of it."""
    from tempme_jax import plots
    from tempme_jax.reports import console, new_table

    folder, out = pathlib.Path(workdir), console()
    rows = summaries(results)
    lines = protocols(results)
    folder.mkdir(parents=True, exist_ok=True)
    found = {"rows": rows, "protocols": lines, "failed": failed, "results": results}
    replace_text(folder / "compare.json", json.dumps(found, indent=1) + "\n")
    if rows:
        replace_text(folder / "compare.csv", as_csv(rows))
        replace_text(folder / "compare.md", as_markdown(rows, lines))
        plots.accuracy_and_cost(rows, folder / "compare.png")
        table = new_table(TITLE)
        for name in COLUMNS:
            table.add_column(name, justify="left" if name == "Method" else "right")
        for row in rows:
            table.add_row(*cells(row))
        out.print(table)
    for line in [*lines, f"Saved: {folder}/compare.{{{'csv,json,md,png' if rows else 'json'}}}"]:
        out.print(line, markup=False)
    for one in failed:
        told = "\n  ".join([f"{one['run']} FAILED: {one['problem']}", *one["last_lines"]])
        out.print(f"\n{told}\nTo run it alone: {one['command']}", markup=False)


def cells(row: dict[str, Any]) -> list[str]:
    """A row under `COLUMNS`."""
    memory = row["peak_memory_bytes"]
    measured = row["text_to_video"]
    return [
        row["method"],
        str(len(row["seeds"])),
        f"{row['trainable'] / 1e6:.3f}",
        f"{row['paper']:.4g}",
        str(row["tokens"]),
        *(shown_spread(measured[name], ".1f") for name in ("R@1", "R-Sum", "MnR")),
        shown_spread(row["seconds"], ".0f"),
        "-" if memory is None else f"{memory / 2**30:.2f}",
    ]


def shown_spread(value: dict[str, float | None], spec: str) -> str:
    """A mean, with its deviation if there is one."""
    deviation = value["deviation"]
    shown = "" if deviation is None else f" ± {deviation:{spec}}"
    return f"{value['mean']:{spec}}{shown}"


def as_markdown(rows: list[dict[str, Any]], lines: list[str]) -> str:
    """The table on the screen, for a README."""
    table = [COLUMNS, ("---", *["---:"] * (len(COLUMNS) - 1)), *map(cells, rows)]
    text = [f"| {' | '.join(one)} |" for one in table]
    return "\n".join([f"{TITLE}.", "", *text, "", *lines, ""])


def as_csv(rows: list[dict[str, Any]]) -> str:
    """All numbers, one column each: means and deviations of both directions, too."""
    flat = [dict(flattened(row)) for row in rows]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, flat[0], lineterminator="\n")
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
