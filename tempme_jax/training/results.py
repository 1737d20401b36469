"""What runs found: their `results.json`, the table on the screen, and means over seeds."""

import json
import os
import pathlib
import statistics
from typing import Any

import numpy as np

from tempme_jax.files import write_text
from tempme_jax.training.metrics import MEASURES

DIRECTIONS = ("text_to_video", "video_to_text")
NAME = "results.json"
# What every file says of its run, and in which type; README and `tempme compare` rely on it.
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
    **dict.fromkeys(DIRECTIONS, dict),
    "costs": dict,
    "training": dict,
    "config": dict,
}
PARTS = {
    "protocol": ("ties", "dual_softmax", "qb_norm", "selected_on"),
    **dict.fromkeys(DIRECTIONS, (*MEASURES, "intervals")),
    "costs": ("trainable", "mac", "paper", "tokens"),
    "training": ("seconds", "steps", "peak_memory_bytes"),
}


class ResultsError(ValueError):
    """A file of results that is damaged, or is none."""


def write_results(file: str | os.PathLike, results: dict[str, Any]) -> None:
    """Writes a run's results as JSON: all of them, or, if that fails, the file stays as it was.

    Args:
        file: where to; its folder is there.
        results: with what `FIELDS` and `PARTS` list; more is kept, too.

    Raises:
        ResultsError: if something is missing, is of another type, or is NaN or infinite.
    """
    try:
        text = json.dumps(results, indent=1, allow_nan=False, default=plain)
    except ValueError as error:
        raise ResultsError(f"results for {os.fspath(file)} hold NaN or infinity") from error
    if problem := problem_of(json.loads(text)):
        raise ResultsError(f"these results cannot be written to {os.fspath(file)}: {problem}")
    write_text(file, text + "\n")


def read_results(file: str | os.PathLike) -> dict[str, Any]:
    """Reads what `write_results` wrote; of a folder, its `results.json`.

    Raises:
        FileNotFoundError: if there is no such file; it says when there will be one.
        ResultsError: if the file is damaged or holds something else.
    """
    file = pathlib.Path(file)
    file = file / NAME if file.is_dir() else file
    if not file.is_file():
        raise FileNotFoundError(f"there is no {file}: a run writes it when it ends")
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ResultsError(
            f"{file} is damaged ({error}); remove it, and start the run again: it goes on from its "
            "last checkpoint"
        ) from error
    if problem := problem_of(results):
        raise ResultsError(f"{file} holds no results of a run of tempme_jax: {problem}")
    return results


def problem_of(results: Any) -> str:
    """Why some data are no results; empty if they are."""
    if not isinstance(results, dict):
        return f"expected named values, there is a {type(results).__name__}"
    if missing := [name for name in FIELDS if name not in results]:
        return f"{', '.join(missing)} missing"
    for name, kind in FIELDS.items():
        value = results[name]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            return f"{name} is {value!r:.60}"
        if missing := [part for part in PARTS.get(name, ()) if part not in value]:
            return f"{', '.join(missing)} missing in {name}"
    return ""


def plain(value: Any) -> Any:
    """What JSON has for a value that it does not know."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"results hold {value!r:.60} of type {type(value).__name__}")


def summaries(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each name (without one: method), in the order of the results.

    With its costs, and measures over its seeds.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        groups.setdefault(result.get("name", result["method"]), []).append(result)
    rows = []
    for name, group in groups.items():
        costs, training = group[0]["costs"], [result["training"] for result in group]
        memory = [one["peak_memory_bytes"] for one in training if one["peak_memory_bytes"]]
        rows.append({"name": name, "method": group[0]["method"]})
        rows[-1].update({"seeds": [result["seed"] for result in group], **costs})
        rows[-1]["seconds"] = spread([one["seconds"] for one in training])
        rows[-1]["peak_memory_bytes"] = max(memory, default=None)
        for direction in DIRECTIONS:
            rows[-1][direction] = {
                name: spread([result[direction][name] for result in group]) for name in MEASURES
            }
    return rows


def spread(values: list[float]) -> dict[str, float | None]:
    """Their mean, and their sample standard deviation if there are two or more."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "deviation": deviation}
