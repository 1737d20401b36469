"""Tables of results with seeds in one row, and rows of the paper; `formats` writes them."""

import collections
import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from tempme_jax.compare.figures import ACCURACY, Printed
from tempme_jax.compare.paper import select_rows
from tempme_jax.fields import FieldError, parse_fields
from tempme_jax.training.metrics import MEASURES
from tempme_jax.training.result_tables import describe_protocol, describe_protocols, describe_rules
from tempme_jax.training.results import DIRECTIONS, RESULTS, read_results, summarize

# What a comparison saves; its runs lie beside it.
COMPARISON = "compare.json"
# The part of results about hard negatives, by their kinds.
NEGATIVES = "negatives"
# Costs by the names of the paper's figures, and how ours are called.
OURS = {"trainable": "trainable", "gflops": "paper", "tokens": "tokens"}


@dataclasses.dataclass(frozen=True)
class Line:
    """A row of a sheet.

    Attributes:
        name: name of the row.
        costs: its costs, by the names in `OURS`; trained parameters in millions.
        values: mean and deviation of its measures, by direction and name.
        about: where the numbers are from: the protocol, or the paper's table.
        seeds: seeds of its runs; none if the paper prints it.
    """

    name: str
    costs: dict[str, Printed | None]
    values: dict[tuple[str, str], tuple[Printed | None, float | None]]
    about: str
    seeds: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Sheet:
    """A table of runs of one kind, retrieval or answers.

    Attributes:
        columns: direction and measure of each column.
        ours: rows of the runs.
        printed: rows of the paper.
        bold: whether the best of ours are marked, as they are if all were measured alike.
        notes: protocols of the runs, and what to know of them.
    """

    columns: list[tuple[str, str]]
    ours: list[Line]
    printed: list[Line]
    bold: bool
    notes: list[str]


def gather_results(places: Sequence[str | os.PathLike]) -> list[dict[str, Any]]:
    """Return the results in some places: of runs, files, and all runs of comparisons.

    Those of a comparison have the "name" of their row; all have the "place" they were read from.
    A place that is given twice counts once: it is no second run.

    Raises:
        FileNotFoundError, ResultsError: see `read_results`.
        ValueError: if the file of a comparison is damaged.
    """
    found = []
    for place in {os.path.realpath(place): pathlib.Path(place) for place in places}.values():
        file = place / COMPARISON
        if (place / RESULTS).exists() or not file.is_file():
            found.append(read_results(place) | {"place": os.fspath(place)})
            continue
        try:
            saved = parse_fields(file.read_bytes(), dict[str, Any], file.name)
            named = [
                (one["name"], pathlib.Path(one["folder"]).parts[-2:]) for one in saved["results"]
            ]
        except (FieldError, KeyError, TypeError, OSError) as error:
            raise ValueError(f"{file} is damaged ({error}); run the comparison again") from error
        for name, parts in named:
            run = place.joinpath(*parts)
            found.append(read_results(run) | {"name": name, "place": os.fspath(run)})
        if not named:
            raise ValueError(f"{file} holds no finished run")
    once = {os.path.realpath(one["place"]): one for one in found}
    return list(once.values())


def make_sheets(results: list[dict[str, Any]], tables: Sequence[int] = ()) -> list[Sheet]:
    """Return a sheet for retrieval and one for answers, as far as there are results.

    Runs of the same settings are one row, with mean and standard deviation over their seeds.

    Args:
        results: as of `gather_results`.
        tables: tables of the paper whose rows are added.
    """
    answering = [one for one in results if ACCURACY in one]
    retrieving = [one for one in results if ACCURACY not in one]
    return [make_sheet(group, tables) for group in (retrieving, answering) if group]


def make_sheet(results: list[dict[str, Any]], tables: Sequence[int]) -> Sheet:
    """Return the sheet of results of one kind; arguments as for `make_sheets`."""
    columns = [(direction, name) for direction in DIRECTIONS for name in MEASURES]
    columns = [(ACCURACY, "")] if ACCURACY in results[0] else columns
    kinds = [set(one.get(NEGATIVES, {})) for one in results]
    columns += [
        (NEGATIVES, kind)
        for kind in results[0].get(NEGATIVES, {})
        if all(kind in one for one in kinds)
    ]
    labels = label_runs(results)
    named = [result | {"name": label} for result, label in zip(results, labels, strict=True)]
    about = {one["name"]: describe_protocol(one) for one in named}
    ours = [make_line(row, columns, about[row["name"]]) for row in summarize(named)]
    measured_alike = {describe_measuring(result) for result in results}
    return Sheet(
        columns, ours, list_printed(results, tables, columns),
        bold=len(ours) > 1 and len(measured_alike) == 1,
        notes=describe_protocols([one | {"method": one["name"]} for one in named]),
    )  # fmt: skip


def label_runs(results: list[dict[str, Any]]) -> list[str]:
    """Return a name for each run, which those share that differ in their seed only."""
    keys = []
    for result in results:
        config = {name: value for name, value in result["config"].items() if name != "seed"}
        name = result.get("name", result["method"])
        keys.append((name, json.dumps(config, sort_keys=True), describe_measuring(result)))
    counts = collections.Counter(name for name, *_ in set(keys))
    first = {key: result for key, result in zip(reversed(keys), reversed(results), strict=True)}
    return [
        key[0] if counts[key[0]] == 1 else f"{key[0]} ({first[key].get('place', '?')})"
        for key in keys
    ]


def describe_measuring(result: dict[str, Any]) -> str:
    """Return what numbers must share to be compared: the data, and the rules of measuring."""
    names = ("dataset", "variant", "split", "id_hash", "text_hash", "texts")
    return json.dumps([[result.get(name) for name in names], describe_rules(result)])


def make_line(row: dict[str, Any], columns: list[tuple[str, str]], about: str) -> Line:
    """Return the row of runs that `summarize` put together."""
    values = {}
    for direction, name in columns:
        measured = row[direction][name] if name else row[direction]
        values[direction, name] = measured["mean"], measured["deviation"]
    costs = {name: row[ours] for name, ours in OURS.items()}
    costs["trainable"] /= 1e6
    return Line(row["name"], costs, values, about, tuple(row["seeds"]))


def list_printed(
    results: list[dict[str, Any]], tables: Sequence[int], columns: list[tuple[str, str]]
) -> list[Line]:
    """Return rows of the paper's tables: those of the data sets of the results, if there are any.

    Raises:
        ValueError: if there is no such table.
    """
    rows = select_rows(tables) if tables else []
    same = [row for row in rows if row.data in {result["dataset"] for result in results}]
    lines = []
    for row in same or rows:
        name = row.name if same else f"{row.name} ({row.data})"
        values: dict[tuple[str, str], tuple[Printed | None, float | None]] = {
            (direction, measure): (row.printed.get(f"{direction} {measure}".strip()), None)
            for direction, measure in columns
        }
        costs = {name: row.printed.get(name) for name in OURS}
        lines.append(Line(name, costs, values, f"Table {row.table} of the paper"))
    return [line for line in lines if any(value is not None for value, _ in line.values.values())]
