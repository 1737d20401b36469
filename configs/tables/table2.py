"""Table 2 of the paper: the comparison of all methods, on MSR-VTT with B/32.

tempme compare configs/tables/table2.py
tempme compare configs/tables/table2.py --data configs/msrvtt.py
"""

from tempme_jax.compare.contenders import Table
from tempme_jax.compare.paper import select_rows

TABLE = Table(
    title="Table 2: MSR-VTT, ViT-B/32, 12 frames",
    rows=select_rows([2]),
    # On the built-in set it would repeat the row before.
    small={"VoP, prompts as counted": None},
)
