"""Sheets of results as LaTeX, Markdown, CSV and JSON."""

import collections
import csv
import io
import json
from typing import Any

from tempme_jax.compare.figures import COSTS, Printed, format_figure
from tempme_jax.compare.sheets import OURS, Line, Sheet

# Measures of which less is better.
LESS = ("MdR", "MnR")
TITLES = {
    "text_to_video": "Text to video", "video_to_text": "Video to text",
    "negatives": "Above its negative",
}  # fmt: skip
SHORT = {"text_to_video": "t2v ", "video_to_text": "v2t ", "negatives": "above "}


def find_best(sheet: Sheet, column: tuple[str, str]) -> str:
    """Return the best mean of a column of ours, as it is shown; empty if none is marked."""
    shown = [format_value(line.values[column][0]) for line in sheet.ours]
    if not sheet.bold or len(set(shown)) == 1:
        return ""
    return min(shown, key=float) if column[1] in LESS else max(shown, key=float)


def format_value(value: Printed | None) -> str:
    """Return a mean, or a dash."""
    return format_figure(value, ".1f")


def format_cells(line: Line, sheet: Sheet, bold: str, plus: str) -> list[str]:
    """Return the cells of a row.

    Args:
        line: the row.
        sheet: the sheet that it is on.
        bold: how the best is marked, with "{}" for the number.
        plus: what stands between mean and deviation.
    """
    specs = {"trainable": ".3f", "gflops": ".4g", "tokens": "d"}
    cells = [format_figure(line.costs[name], spec) for name, spec in specs.items()]
    for column in sheet.columns:
        value, deviation = line.values[column]
        text = format_value(value)
        if line.seeds and text == find_best(sheet, column):
            text = bold.format(text)
        cells.append(text if deviation is None else f"{text}{plus}{deviation:.1f}")
    return cells


def format_markdown(sheets: list[Sheet]) -> str:
    """Return the sheets as tables in Markdown, with their protocols below."""
    text = []
    for sheet in sheets:
        heads = ["Method", *(COSTS[name].head for name in OURS)]
        heads += [f"{SHORT[way]}{name}" if name else "Accuracy" for way, name in sheet.columns]
        rows = [heads, ["---", *["---:"] * (len(heads) - 1)]]
        for line in [*sheet.ours, *sheet.printed]:
            name = line.name if line.seeds else f"{line.name} (paper)"
            rows.append([name.replace("|", "\\|"), *format_cells(line, sheet, "**{}**", " ± ")])
        text += [*(f"| {' | '.join(row)} |" for row in rows), ""]
        text += [*list_notes(sheet), ""]
    return "\n".join(text)


def list_notes(sheet: Sheet) -> list[str]:
    """Return what stands below a table: the protocols, the seeds, and what the paper prints."""
    seeds = {line.seeds for line in sheet.ours}
    notes = [*sheet.notes]
    if any(len(one) > 1 for one in seeds):
        listed = "; ".join(
            f"{line.name}: seeds {', '.join(map(str, line.seeds))}" for line in sheet.ours
        )
        notes.append(f"mean ± standard deviation over seeds ({listed})")
    tables = dict.fromkeys(line.about for line in sheet.printed)
    return notes + [f"(paper): as printed in {table}" for table in tables]


# What LaTeX would read as commands.
ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$",
}  # fmt: skip


def escape(text: str) -> str:
    """Return a text as LaTeX shows it."""
    return "".join(ESCAPES.get(letter, letter) for letter in text)


def format_latex(sheets: list[Sheet]) -> str:
    r"""Return the sheets as tables of LaTeX, which need \usepackage{booktabs}."""
    text = [r"% needs \usepackage{booktabs}"]
    for sheet in sheets:
        text += [f"% {note}" for note in list_notes(sheet)]
        text += [rf"\begin{{tabular}}{{l{'r' * (len(OURS) + len(sheet.columns))}}}", r"\toprule"]
        text += list_latex_heads(sheet)
        for line in sheet.ours:
            text.append(format_latex_row(line, sheet))
        if sheet.printed:
            count = 1 + len(OURS) + len(sheet.columns)
            tables = ", ".join(dict.fromkeys(line.about for line in sheet.printed))
            head = rf"\multicolumn{{{count}}}{{l}}{{\emph{{As printed in {escape(tables)}}}}} \\"
            text += [r"\midrule", head]
            text += [format_latex_row(line, sheet) for line in sheet.printed]
        text += [r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join(text)


def list_latex_heads(sheet: Sheet) -> list[str]:
    """Return the lines of a table's head: the directions, and the names of the columns."""
    heads, lines, first = [""] * (1 + len(OURS)), [], 2 + len(OURS)
    for direction, count in collections.Counter(way for way, _ in sheet.columns).items():
        if title := TITLES.get(direction):
            heads.append(rf"\multicolumn{{{count}}}{{c}}{{{title}}}")
            lines.append(rf"\cmidrule(lr){{{first}-{first + count - 1}}}")
            first += count
    names = ["Method", *(COSTS[name].head for name in OURS)]
    names += [name or "Accuracy" for _, name in sheet.columns]
    above = [" & ".join(heads) + r" \\", "".join(lines)] if lines else []
    return [*above, " & ".join(map(escape, names)) + r" \\", r"\midrule"]


def format_latex_row(line: Line, sheet: Sheet) -> str:
    """Return a row of a table."""
    cells = format_cells(line, sheet, r"\textbf{{{}}}", r" $\pm$ ")
    return " & ".join([escape(line.name), *cells]) + r" \\"


def flatten(line: Line) -> dict[str, Any]:
    """Return the numbers of a row by plain names, unrounded."""
    flat: dict[str, Any] = {"method": line.name, "source": "ours" if line.seeds else "paper"}
    flat |= {"seeds": " ".join(map(str, line.seeds)), **line.costs}
    for (direction, name), (value, deviation) in line.values.items():
        title = f"{direction} {name}".strip()
        flat |= {title: value, f"{title} deviation": deviation}
    return flat | {"about": line.about}


def format_csv(sheets: list[Sheet]) -> str:
    """Return every number of every row as CSV, unrounded; empty where there is none."""
    rows = [flatten(line) for sheet in sheets for line in [*sheet.ours, *sheet.printed]]
    stream = io.StringIO()
    names = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def format_json(sheets: list[Sheet]) -> str:
    """Return the rows and the notes of all sheets as JSON, numbers unrounded."""
    found = [
        {
            "rows": [flatten(line) | {"seeds": list(line.seeds)} for line in sheet.ours],
            "paper": [flatten(line) | {"seeds": []} for line in sheet.printed],
            "comparable": len(sheet.ours) < 2 or sheet.bold,
            "notes": list_notes(sheet),
        }
        for sheet in sheets
    ]
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


FORMATS = {
    "latex": format_latex, "md": format_markdown, "csv": format_csv, "json": format_json,
}  # fmt: skip
