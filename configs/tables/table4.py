"""Table 4 of the paper: what methods cost, on MSR-VTT with B/16.

tempme compare configs/tables/table4.py
tempme compare configs/tables/table4.py --data configs/msrvtt.py
"""

from tempme_jax.compare.paper import rows_of
from tempme_jax.compare.tables import Table

# Left out where it would repeat the row before.
SMALL = {"VoP, prompts as counted": None}

TABLE = Table(
    title="Table 4: MSR-VTT, ViT-B/16, complexity",
    rows=tuple(rows_of([4])),
    small=SMALL,
)
