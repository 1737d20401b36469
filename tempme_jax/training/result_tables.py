"""The tables that a run prints: parameters and results."""

import itertools
import re
from collections.abc import Iterable
from typing import Any

from tempme_jax.model import Model
from tempme_jax.parameters import flatten
from tempme_jax.screen import make_console, make_table
from tempme_jax.training.metrics import MEASURES, RECALLS
from tempme_jax.training.results import DIRECTIONS

RUN = ("Method", "Seed", "Trains (M)", "GFLOPs", "Tokens", "Seconds")


def print_results(results: list[dict[str, Any]]) -> None:
    """Print a table of runs, one for each kind, and below the protocol of their numbers."""
    answering = [result for result in results if "accuracy" in result]
    retrieving = [result for result in results if "accuracy" not in result]
    out = make_console()
    if retrieving:
        columns = (*RUN, "Direction", "R@1 (95 %)", *MEASURES[1:])
        table = make_table("Text-video retrieval", columns, left=("Method", "Direction"))
        for row in itertools.chain.from_iterable(map(format_rows, retrieving)):
            table.add_row(*row)
        out.print(table)
    if compared := [result for result in retrieving if "negatives" in result]:
        kinds = list(dict.fromkeys(kind for result in compared for kind in result["negatives"]))
        title = "Above the hard negative (%)"  # a title breaks where a narrow table ends
        table = make_table(title, ("Method", "Seed", "Texts", *kinds), left=("Method",))
        for result in compared:
            table.add_row(*format_run(result)[:2], *format_negatives(result["negatives"], kinds))
        out.print(table)
    if answering:
        columns = (*RUN, "Questions", "Number", "Accuracy (95 %)", "In the list (%)")
        table = make_table("Answers to questions", columns, left=("Method", "Questions"))
        for row in itertools.chain.from_iterable(map(format_answers, answering)):
            table.add_row(*row)
        out.print(table)
    for line in describe_protocols(results):
        out.print(line, markup=False)


def format_negatives(found: dict[str, dict[str, float]], kinds: list[str]) -> list[str]:
    """Return the cells of a run that are about hard negatives: the texts, and each kind."""
    texts = max((one["texts"] for one in found.values()), default=0)
    cells = [f"{found[kind]['accuracy']:.1f}" if kind in found else "-" for kind in kinds]
    return [f"{texts:.0f}", *cells]


def format_run(result: dict[str, Any]) -> list[str]:
    """Return the cells of a run that are not measures, in the order of `RUN`."""
    costs, seconds = result["costs"], result["training"]["seconds"]
    return [
        result.get("name", result["method"]), str(result["seed"]),
        f"{costs['trainable'] / 1e6:.3f}", f"{costs['paper']:.4g}", str(costs["tokens"]),
        f"{seconds:.0f}",
    ]  # fmt: skip


def format_answers(result: dict[str, Any]) -> list[list[str]]:
    """Return the cells of a run, a row for all questions, and one for each type of them."""
    figures, between = result["answers"], ""
    if figures["interval"]:
        between = " ({:.1f}-{:.1f})".format(*figures["interval"])
    accuracy = f"{result['accuracy']:.1f}{between}"
    count, coverage = str(figures["questions"]), f"{figures['coverage']:.1f}"
    rows = [[*format_run(result), "all", count, accuracy, coverage]]
    for name, one in figures["types"].items():
        rows.append([*[""] * len(RUN), name, str(one["questions"]), f"{one['accuracy']:.1f}", ""])
    return rows


def format_rows(result: dict[str, Any]) -> list[list[str]]:
    """Return the cells of a run, a row for each direction of retrieval.

    If the best were re-ranked, the directions without that follow.
    """
    named = {direction.replace("_", " "): result[direction] for direction in DIRECTIONS}
    if plain := result.get("plain"):
        named = {f"{name}, re-ranked": measured for name, measured in named.items()}
        named |= {f"{way.replace('_', ' ')}, plain": plain[way] for way in DIRECTIONS}
    run, rows = format_run(result), []
    for name, measured in named.items():
        interval = measured["intervals"].get("R@1")
        between = f" ({interval[0]:.1f}-{interval[1]:.1f})" if interval else ""
        cells = [name, f"{measured['R@1']:.1f}{between}"]
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
        *describe_rules(result),
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
    parts += rules.get("notes") or [mark for rule, mark in marks.items() if rules.get(rule)]
    return "; ".join(parts)


def describe_rules(result: dict[str, Any]) -> list[str]:
    """Return by which rules a run was measured."""
    rules = result["protocol"]
    found = []
    if "ties" in rules:
        found.append(f"ties: {rules['ties']}")
    if rules.get("rivals") == "videos":
        found.append("video to text: of every other video its best caption counts")
    if figures := result.get("answers"):
        found.append(
            f"{figures['questions']} questions (answers {figures['answer_hash']}), "
            f"{figures['coverage']:.1f} % with their answer in the list of {figures['listed']}; "
            f"{rules['candidates']} candidates for each"
        )
        if figures["alike"]:
            found.append(f"{figures['alike']} of the list have the ids of another, when cut")
    best = result.get("rerank", {}).get("best", max(RECALLS))
    if behind := [f"R@{k}" for k in RECALLS if k > best]:
        found.append(f"behind the {best} best all are tied: {' and '.join(behind)} say little")
    if result["config"].get("evaluate", {}).get("frame_sampling") == "shuffled":
        found.append("FRAMES IN RANDOM ORDER")
    return found


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
        name = "/".join(re.sub(r"^(block|layer)_\d+$", r"\1_*", part) for part in path)
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
