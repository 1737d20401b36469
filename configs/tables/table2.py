"""Table 2 of the paper: what is learned, and what is done with the tokens, on MSR-VTT with B/32.

tempme compare configs/tables/table2.py
tempme compare configs/tables/table2.py --data configs/msrvtt.py
"""

from tempme_jax.compare.paper import rows_of
from tempme_jax.compare.tables import Table

# Left out where it would repeat the row before.
SMALL = {"VoP, prompts as counted": None}

TABLE = Table(
    title="Table 2: MSR-VTT, ViT-B/32, 12 frames",
    rows=tuple(rows_of([2])),
    small=SMALL,
)
