"""The rows of the TempMe paper's tables with what it prints, and our count of their costs.

`tempme bench costs` prints both. `tempme compare configs/tables/table2.py` trains, and prints the
paper's accuracies beside ours, too.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

from tempme_jax import costs, methods
from tempme_jax.compare import rows
from tempme_jax.compare.figures import Printed, read_lines
from tempme_jax.compare.rows import PaperRow
from tempme_jax.costs import Cost
from tempme_jax.networks.architecture import ARCHITECTURES
from tempme_jax.networks.backbones import make_network

# The costs that are counted, by the names of `figures.COSTS`.
COUNTED = ("trainable", "gflops", "tokens")
# The tables from video to text, by those from text to video, whose rows they have.
REVERSED = {2: 11, 3: 12}


def find_printed(row: PaperRow, table: int | None) -> dict[str, Printed]:
    """Return the figures that a table of the paper prints for a row."""
    for (line, backbone, data), figures in read_lines(table).items():
        same = line == (row.line or row.name)
        if same and backbone in ("", row.backbone) and data in ("", row.data):
            return {name: figures[name] for name in figures if name in (row.only or figures)}
    return {}


def add_printed(row: PaperRow) -> PaperRow:
    """Return a row with what the paper prints for it, in both directions."""
    both = find_printed(row, REVERSED.get(row.table)) | find_printed(row, row.table)
    return dataclasses.replace(row, printed=both)


ROWS = tuple(map(add_printed, rows.ROWS))


@dataclasses.dataclass(frozen=True)
class CountedRow:
    """A row of the paper, and the cost that this package counts for it."""

    row: PaperRow
    cost: Cost

    @property
    def tables(self) -> list[int]:
        """Numbers of the tables that print the row, its own first."""
        return list_tables(self.row)

    @property
    def agrees(self) -> bool | None:
        """True if our costs round to the paper's; None if it prints none."""
        cost = self.cost
        ours = (round(cost.trainable / 1e6, 2), round(cost.paper, 1), cost.tokens)
        theirs = (self.row.printed.get(name) for name in COUNTED)
        compared = [
            printed == count
            for printed, count in zip(theirs, ours, strict=True)
            if isinstance(printed, int | float)
        ]
        return all(compared) if compared else None

    def to_json(self) -> dict[str, Any]:
        """Return our figures under plain names, and the paper's under `paper_...`."""
        settings = ("table", "name", "method", "backbone", "frames", "data", "options")
        none = dict.fromkeys(COUNTED)
        return {
            "tables": self.tables,
            **{name: getattr(self.row, name) for name in settings},
            **{name: getattr(self.cost, name) for name in ("trainable", "mac", "paper", "tokens")},
            **{f"paper_{name}": value for name, value in (none | dict(self.row.printed)).items()},
            "agrees": self.agrees,
            "note": self.row.note,
        }


def count_row(row: PaperRow) -> CountedRow:
    """Count the cost of a row with this package."""
    options = tuple(row.options.items())
    return CountedRow(row, count_model(row.method, row.backbone, row.frames, options))


@functools.cache
def count_model(
    method: str, backbone: str, frames: int, options: tuple[tuple[str, Any], ...]
) -> Cost:
    """Count the cost of a model once; many rows are of the same."""
    arch = ARCHITECTURES[backbone]
    adapter, reducer = methods.build(method, arch, frames, dict(options))
    return costs.count_costs(make_network(arch, adapter, reducer), frames)


def list_tables(row: PaperRow) -> list[int]:
    """Return the numbers of the tables that a row stands for, its own first."""
    other = REVERSED.get(row.table)
    return [row.table, *([other] if other and find_printed(row, other) else [])]


def select_rows(tables: Sequence[int]) -> list[PaperRow]:
    """Return the rows of some tables; of all, if `tables` is empty.

    Raises:
        ValueError: if a table has no rows here.
    """
    known = sorted({table for row in ROWS for table in list_tables(row)})
    if unknown := set(tables) - set(known):
        raise ValueError(f"no rows of tables {sorted(unknown)}; there are: {known}")
    return [row for row in ROWS if set(list_tables(row)) & set(tables or known)]
