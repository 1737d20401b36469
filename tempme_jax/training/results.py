"""The results of runs: `results.json`, and means over seeds."""

import json
import os
import pathlib
import shlex
import statistics
from typing import Any

import numpy as np

from tempme_jax.fields import FieldError, check_type, parse_json
from tempme_jax.files import write_text
from tempme_jax.training.checksums import compute_digest
from tempme_jax.training.metrics import MEASURES

DIRECTIONS = ("text_to_video", "video_to_text")
RESULTS = "results.json"
# The fields of every file, and their types; `tempme compare` relies on them.
FIELDS: dict[str, type | tuple[type, ...]] = {
    "dataset": str,
    "variant": str,
    "split": str,
    "pairs": int,
    "texts": int,
    "videos": int,
    "id_hash": str,
    "complete": bool,
    "expected": (int, type(None)),
    "method": str,
    "seed": int,
    "step": int,
    "protocol": dict,
    "costs": dict,
    "training": dict,
    "config": dict,
}
# Intervals are pairs of numbers.
MEASURED = dict.fromkeys(MEASURES, float) | {"intervals": dict[str, list[float]]}
PARTS: dict[str, dict[str, Any]] = {
    "protocol": {"selected_on": str},
    "costs": {"trainable": int, "mac": float, "paper": float, "tokens": int},
    "training": {"seconds": float, "steps": int, "peak_memory_bytes": int | None},
}
# The parts that only results of retrieval have, and only those of answers to questions, which have
# an "accuracy" in percent.
RETRIEVAL: dict[str, dict[str, Any]] = {
    "protocol": {"ties": str, "dual_softmax": bool, "qb_norm": bool},
    **dict.fromkeys(DIRECTIONS, MEASURED),
}
ANSWERING: dict[str, dict[str, Any]] = {
    "protocol": {"candidates": int},
    "answers": {
        "questions": int, "right": int, "listed": int, "coverage": float,
        "answer_hash": str, "alike": int, "interval": list[float], "types": dict[str, Any],
    },
}  # fmt: skip
# Fields that not all files have: "remarks", what a reader of the numbers must know; "finished",
# whether all steps of the training were made; "text_hash", of the captions of the videos; and
# "model", what was measured by itself. If the best are re-ranked, "plain" has both directions
# without that, and "rerank" what it cost. If the data set has kinds of hard negatives, "negatives"
# has how many "texts" have one of a kind, and the "accuracy" with which they score it lower.
OPTIONAL: dict[str, Any] = {
    "remarks": list[str],
    "finished": bool,
    "text_hash": str,
    "model": str,
    "accuracy": float,
    "plain": dict[str, dict[str, Any]],
    "rerank": dict[str, float],
    "negatives": dict[str, dict[str, float]],
}


class ResultsError(ValueError):
    """A file of results is damaged, or holds something else."""


def write_results(file: str | os.PathLike, results: dict[str, Any]) -> None:
    """Write a run's results as JSON; if that fails, the file stays as it was.

    Args:
        file: where to; its folder exists.
        results: at least the fields in `FIELDS` and `PARTS`; others are kept.

    Raises:
        ResultsError: if something is missing, is of another type, or is NaN or infinite.
    """
    try:
        text = json.dumps(results, indent=1, allow_nan=False, default=convert_for_json)
    except ValueError as error:
        raise ResultsError(f"results for {os.fspath(file)} hold NaN or infinity") from error
    if problem := find_problem(json.loads(text)):
        raise ResultsError(f"these results cannot be written to {os.fspath(file)}: {problem}")
    content = json.loads(text)
    content["digest"] = compute_digest(content)
    write_text(file, json.dumps(content, indent=1) + "\n")


def read_results(file: str | os.PathLike) -> dict[str, Any]:
    """Read a file that `write_results` wrote, or the `results.json` of a folder.

    Raises:
        FileNotFoundError: if there is no such file.
        ResultsError: if the file is damaged or holds something else.
    """
    given = pathlib.Path(file)
    file = given / RESULTS if given.is_dir() else given
    if not file.is_file():
        runs = sorted(shlex.quote(str(found.parent)) for found in given.glob(f"*/{RESULTS}"))
        hint = f"; {given} holds runs, name them: {' '.join(runs)}" if runs else ""
        raise FileNotFoundError(f"there is no {file}: a run writes it when it ends{hint}")
    try:
        results = parse_json(file.read_bytes(), file.name)
        is_signed = isinstance(results, dict) and "digest" in results  # not by version 0.1
        if is_signed and results.pop("digest") != compute_digest(results):
            raise FieldError("it has changed since it was written")
    except (OSError, FieldError) as error:
        raise ResultsError(
            f"{file} is damaged ({error}); remove it, and start the run again: it resumes from its "
            "last checkpoint"
        ) from error
    if problem := find_problem(results):
        raise ResultsError(f"{file} holds no results of a run of tempme_jax: {problem}")
    return results


def find_problem(results: Any) -> str:
    """Return why data are not results of a run; empty if they are."""
    if not isinstance(results, dict):
        return f"expected named values, there is a {type(results).__name__}"
    own = ANSWERING if "accuracy" in results else RETRIEVAL
    fields = FIELDS | dict.fromkeys(own, dict)
    if missing := [name for name in fields if name not in results]:
        return f"{', '.join(missing)} missing"
    for name, kind in fields.items():
        value = results[name]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            return f"{name} is {value!r:.60}"
        parts = PARTS.get(name, {}) | own.get(name, {})
        if missing := [part for part in parts if part not in value]:
            return f"{', '.join(missing)} missing in {name}"
        for part, kind in parts.items():
            if problem := find_wrong_type(f"{name}.{part}", value[part], kind):
                return problem
    for name, kind in OPTIONAL.items():
        if name in results and (problem := find_wrong_type(name, results[name], kind)):
            return problem
    return ""


def find_wrong_type(name: str, value: Any, kind: Any) -> str:
    """Return why a value is not of a type; empty if it is."""
    try:
        check_type(name, value, kind)
    except ValueError as error:
        return str(error)
    return ""


def convert_for_json(value: Any) -> Any:
    """Return the JSON value for an object that `json` does not know."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"results hold {value!r:.60} of type {type(value).__name__}")


def summarize(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Summarize runs over their seeds.

    Returns:
        A row for each name (or method, if runs have no names) in the order of the results: its
        costs, and the mean and deviation of each measure.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        groups.setdefault(result.get("name", result["method"]), []).append(result)
    rows = []
    for name, group in groups.items():
        costs, training = group[0]["costs"], [result["training"] for result in group]
        memory = [one["peak_memory_bytes"] for one in training if one["peak_memory_bytes"]]
        row = {
            "name": name,
            "method": group[0]["method"],
            "seeds": [result["seed"] for result in group],
            **costs,
            "seconds": measure_spread([one["seconds"] for one in training]),
            "peak_memory_bytes": max(memory, default=None),
        }
        if "accuracy" in group[0]:  # of answers
            row["accuracy"] = measure_spread([result["accuracy"] for result in group])
        for direction in (one for one in DIRECTIONS if one in group[0]):
            values = {name: [result[direction][name] for result in group] for name in MEASURES}
            row[direction] = {name: measure_spread(listed) for name, listed in values.items()}
        if all("negatives" in result for result in group):
            row["negatives"] = {
                kind: measure_spread([one["negatives"][kind]["accuracy"] for one in group])
                for kind in group[0]["negatives"]
                if all(kind in one["negatives"] for one in group)
            }
        rows.append(row)
    return rows


def measure_spread(values: list[float]) -> dict[str, float | None]:
    """Return the mean, and the sample standard deviation of two or more values."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "deviation": deviation}
