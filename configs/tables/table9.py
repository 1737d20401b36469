"""Table 9 of the paper: what joining clips and what reducing tokens does, on MSR-VTT with B/32.

tempme compare configs/tables/table9.py
tempme compare configs/tables/table9.py --data configs/msrvtt.py
"""

from tempme_jax.compare.paper import rows_of
from tempme_jax.compare.tables import Table

# Of six blocks the last three, as in configs/moving_shapes.py.
SMALL = {
    "Temporal modeling": {"r": 0, "keep_cross": 1.0, "keep_intra": 1.0},
    "Token reduction": {"groups": (1, 1, 1), "clip_positions": False, "round_kept": True},
}

TABLE = Table(
    title="Table 9: the functions of TempMe",
    rows=tuple(rows_of([9])),
    small=SMALL,
)
