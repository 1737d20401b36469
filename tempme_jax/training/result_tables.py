"""The tables that a run prints: parameters and results."""

from collections.abc import Iterable
from typing import Any

from tempme_jax.model import Model
from tempme_jax.parameters import flatten
from tempme_jax.screen import make_console, make_table
from tempme_jax.training.metrics import MEASURES
from tempme_jax.training.results import DIRECTIONS


def print_results(results: list[dict[str, Any]]) -> None:
    """Print one table of runs, and below it the protocol of their numbers."""
    run = ("Method", "Seed", "Trains (M)", "GFLOPs", "Tokens", "Seconds", "Direction")
    columns = (*run, "R@1 (95 %)", *MEASURES[1:])
    table = make_table("Text-video retrieval", columns, left=("Method", "Direction"))
    for result in results:
        for row in format_rows(result):
            table.add_row(*row)
    out = make_console()
    out.print(table)
    for line in describe_protocols(results):
        out.print(line, markup=False)


def format_rows(result: dict[str, Any]) -> list[list[str]]:
    """Return the cells of a run, a row for each direction of retrieval."""
    costs = result["costs"]
    run = [result["method"], str(result["seed"]), f"{costs['trainable'] / 1e6:.3f}"]
    run += [f"{costs['paper']:.4g}", str(costs["tokens"]), f"{result['training']['seconds']:.0f}"]
    rows = []
    for direction in DIRECTIONS:
        measured = result[direction]
        interval = measured["intervals"].get("R@1")
        between = f" ({interval[0]:.1f}-{interval[1]:.1f})" if interval else ""
        cells = [direction.replace("_", " "), f"{measured['R@1']:.1f}{between}"]
        rows.append([*run, *cells, *(f"{measured[name]:.1f}" for name in MEASURES[1:])])
        run = [""] * len(run)
    return rows


def describe_protocols(results: Iterable[dict[str, Any]]) -> list[str]:
    """Return a line for each protocol, with the methods measured by it if there are several.

    Then follow a line if the rows cannot be compared, and one for each model that was measured by
    itself.
    """
    results = list(results)
    captions = {result.get("text_hash", "") for result in results}
    methods: dict[str, list[str]] = {}
    for result in results:
        line = describe_protocol(result, with_captions=len(captions) > 1)
        methods.setdefault(line, []).append(result["method"])
    models = [f"{one['method']}: model {one['model']}" for one in results if "model" in one]
    if len(methods) < 2:
        return [*methods, *models]
    lines = [f"{', '.join(dict.fromkeys(names))}: {line}" for line, names in methods.items()]
    verdict = "NOT COMPARABLE: these rows differ in what they were measured on, or how."
    # Results of earlier versions do not know their captions.
    known = captions - {""}
    if len(known) == len(set(map(describe_protocol, results))) == 1:
        verdict = "An earlier version did not note which captions it measured: they may differ."
    return [*lines, verdict, *models]


def describe_protocol(result: dict[str, Any], *, with_captions: bool = False) -> str:
    """Return the protocol of a run in one line: data, ties, and how the checkpoint was selected.

    `with_captions` adds the hash of the captions, to tell them from others of the same videos.
    """
    rules = result["protocol"]
    name = result["dataset"]
    if result["variant"] not in ("", "default"):
        name += f" ({result['variant']})"
    captions = f", captions {result.get('text_hash', 'not known')}" if with_captions else ""
    parts = [
        f"{name}, {result['split']}: {result['texts']} texts, {result['videos']} videos, ids "
        f"{result['id_hash']}{captions}",
        f"ties: {rules['ties']}",
        f"checkpoint selected on {rules['selected_on']}" if rules["selected_on"] else "zero-shot",
    ]
    if rules["selected_on"] in ("test", result["split"]):
        parts[-1] += ", which is what is measured here: NOT UNSEEN DATA"
    if result["expected"] is not None and not result["complete"]:
        fewer = result["videos"] < result["expected"]
        what = "ON A SUBSET" if fewer else "NOT THE PUBLISHED SPLIT"
        parts.append(f"{what}: {result['videos']} of {result['expected']} videos")
    parts += result.get("remarks", [])
    marks = {"dual_softmax": "transductive: dual softmax", "qb_norm": "query bank: QB-Norm"}
    parts += rules.get("notes") or [mark for rule, mark in marks.items() if rules[rule]]
    return "; ".join(parts)


def print_found_options(options: dict[str, Any]) -> None:
    """Print the options that a search found, as flags of a training that uses them."""
    if options:
        flags = " ".join(f"--config.model.options.{k}='{v}'" for k, v in options.items())
        make_console().print(f"Found, for the method that takes it: {flags}", markup=False)


def print_parameters(model: Model, trainable: dict) -> None:
    """Print all parameters and which of them train; blocks share a row."""
    counts: dict[str, list[int]] = {}
    trains = flatten(trainable).keys()
    for path, array in flatten(model.params).items():
        name = "/".join("block_*" if part.startswith("block_") else part for part in path)
        row = counts.setdefault(f"{name}{' (trains)' if path in trains else ''}", [0, 0, 0])
        row[0] += 1
        row[1] += array.size
        row[2] += array.size * (path in trains)
    columns = ("Parameters", "Arrays", "Numbers", "of which train")
    table = make_table(f"{model.method}: what trains", columns, left=("Parameters",))
    for name, (arrays, numbers, training) in counts.items():
        if training:
            name = name.removesuffix(" (trains)")
            table.add_row(name, str(arrays), f"{numbers:,}", f"{training:,}")
    frozen = [row for row in counts.values() if not row[2]]
    table.add_row("frozen", str(sum(r[0] for r in frozen)), f"{sum(r[1] for r in frozen):,}", "0")
    table.add_section()
    total = [sum(row[i] for row in counts.values()) for i in range(3)]
    table.add_row("all", *(f"{number:,}" for number in total))
    make_console().print(table)
