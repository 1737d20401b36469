"""Table 10 of the paper: how many clips join, and where, on MSR-VTT with B/32.

    tempme compare configs/tables/table10.py
    tempme compare configs/tables/table10.py --data configs/msrvtt.py

A name lists numbers of clips and, between them, the block (from 1) that joins them: "12-9-6" begins
with 12 clips, which block 9 joins to 6.
"""

from tempme_jax.compare.contenders import Table
from tempme_jax.compare.paper import select_rows

# The counterparts for 8 frames and six blocks: as many joins, into one clip or more.
SMALL = {
    "A0: 12-9-6-10-3-11-1": {
        "name": "A0: 8-4-4-5-2-6-1", "layers": (3, 4, 5), "groups": (2, 2, 2),
    },
    "A1: 12-9-4-10-1": {"name": "A1: 8-4-4-5-1", "layers": (3, 4), "groups": (2, 4)},
    "A1: 12-9-1": {"name": "A1: 8-4-1", "layers": (3,), "groups": (8,)},
    "A2: 12-9-6-10-3": {"name": "A2: 8-4-4-5-2", "layers": (3, 4), "groups": (2, 2)},
    "A2: 12-9-4": {"name": "A2: 8-4-4", "layers": (3,), "groups": (2,)},
    "A3: blocks 7, 9, 11": {"name": "A3: blocks 3, 4, 6", "layers": (2, 3, 5)},
    "A3: blocks 4, 7, 10": {"name": "A3: blocks 2, 4, 5", "layers": (1, 3, 4)},
    "A3: blocks 1, 5, 9": {"name": "A3: blocks 1, 3, 5", "layers": (0, 2, 4)},
}  # fmt: skip

TABLE = Table("Table 10: steps of joining clips", select_rows([10]), SMALL)
