"""Figure 5 of the paper: the first block that joins clips, and the share of tokens kept.

    tempme compare configs/tables/figure5.py
    tempme compare configs/tables/figure5.py --data configs/msrvtt.py

Each row changes one thing of TempMe's first row, on MSR-VTT with B/32. The paper draws curves
without printing their values.
"""

from tempme_jax.compare.contenders import Table
from tempme_jax.compare.paper import PaperRow

SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
BASE = "Blocks 9, 10, 11; R_C 70 %, R_I 90 %"


def make_row(name, **options):
    """Make a row: TempMe with one thing changed."""
    return PaperRow(0, name, "tempme", options=options)


def make_start(first):
    """Make a row that joins in three neighbouring blocks, counted from 1 as in the paper."""
    return make_row(f"From block {first}", layers=(first - 1, first, first + 1))


ROWS = (
    make_row(BASE),
    *map(make_start, (4, 5, 6, 7, 8, 10)),
    *(make_row(f"R_C {share:.0%}", keep_cross=share) for share in SHARES if share != 0.7),
    *(make_row(f"R_I {share:.0%}", keep_intra=share) for share in SHARES if share != 0.9),
)
# The tiny model has six blocks; configs/moving_shapes.py joins from block 4 on.
SMALL = {row.name: row.options for row in ROWS} | {
    BASE: {"name": "Blocks 4, 5, 6; R_C 70 %, R_I 90 %"},
    "From block 4": {"name": "From block 1", "layers": (0, 1, 2)},
    "From block 5": {"name": "From block 2", "layers": (1, 2, 3)},
    "From block 6": {"name": "From block 3", "layers": (2, 3, 4)},
    "From block 7": None,
    "From block 8": None,
    "From block 10": None,
}
TABLE = Table("Figure 5: TempMe's first block of joining, R_C and R_I", ROWS, SMALL)
