"""Table 4 of the paper: the costs of the methods, on MSR-VTT with B/16.

tempme compare configs/tables/table4.py
tempme compare configs/tables/table4.py --data configs/msrvtt.py
"""

from tempme_jax.compare.contenders import Table
from tempme_jax.compare.paper import select_rows

TABLE = Table(
    title="Table 4: MSR-VTT, ViT-B/16, complexity",
    rows=select_rows([4]),
    # On the built-in set it would repeat the row before.
    small={"VoP, prompts as counted": None},
)
