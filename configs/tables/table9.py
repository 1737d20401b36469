"""Table 9 of the paper: joining clips and reducing tokens, each alone, on MSR-VTT with B/32.

tempme compare configs/tables/table9.py
tempme compare configs/tables/table9.py --data configs/msrvtt.py
"""

from tempme_jax.compare.contenders import Table
from tempme_jax.compare.paper import select_rows

# They change the last three of six blocks, as in configs/moving_shapes.py.
SMALL = {
    "Temporal modeling": {"r": 0, "keep_cross": 1.0, "keep_intra": 1.0},
    "Token reduction": {"groups": (1, 1, 1), "clip_positions": False, "round_kept": True},
}

TABLE = Table("Table 9: the functions of TempMe", select_rows([9]), SMALL)
