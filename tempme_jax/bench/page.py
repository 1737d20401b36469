"""The figures of a record as a part of a page in Markdown."""

import math
from pathlib import Path

from tempme_jax.bench.history import Record
from tempme_jax.bench.plot import HEADLINES, NOT_DRAWN, collect_lines
from tempme_jax.files import write_text

# Between these lines a page holds the figures; what is outside of them stays.
BEGIN, END = "<!-- figures of `tempme bench all` -->", "<!-- end of figures -->"


def update_page(file: Path, record: Record) -> None:
    """Replace the figures of a page by those of a record.

    Raises:
        ValueError: the page has no place for figures.
    """
    text = file.read_text(encoding="utf-8")
    before, found, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ValueError(f"{file} has no place for figures: a line {BEGIN}, and a line {END}")
    write_text(file, f"{before}{BEGIN}\n\n{format_record(record)}\n{END}{after}")


def format_record(record: Record) -> str:
    """Format a record: the machine, then a table of commands and their figures."""
    machine, versions = record["machine"], record["versions"]
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}; {record['date'][:10]}; tempme_jax {record['version']}; {libraries}.",
        "",
        "| Command | Figure | Value |",
        "| --- | --- | ---: |",
    ]
    for name, result in record["benchmarks"].items():
        if name in NOT_DRAWN:
            continue
        command = f"`{result['command'].removesuffix(' --json')}`" if "command" in result else name
        if "skipped" in result:
            lines.append(f"| {command} | skipped: {_escape(result['skipped'])} | |")
            continue
        unit = HEADLINES.get(name, ("", ""))[1]
        for label, [value] in collect_lines([record], name):
            if not math.isnan(value):
                lines.append(f"| {command} | {_escape(f'{label}: {unit}')} | {value:.4g} |")
                command = ""
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.strip(" :").replace("|", "\\|")
