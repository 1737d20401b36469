"""Table 15 of the paper: position embeddings of clips, on MSR-VTT with B/32.

tempme compare configs/tables/table15.py
tempme compare configs/tables/table15.py --data configs/msrvtt.py
"""

from tempme_jax.compare.contenders import Table
from tempme_jax.compare.paper import select_rows

TABLE = Table(
    title="Table 15: positions of clips",
    rows=select_rows([15]),
    small={"Without clip positions": {"clip_positions": False}},
)
