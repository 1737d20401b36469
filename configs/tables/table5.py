"""Table 5 of the paper: full fine-tuning, on MSR-VTT with B/16.

tempme compare configs/tables/table5.py
tempme compare configs/tables/table5.py --data configs/msrvtt.py
"""

from tempme_jax.compare.contenders import Table
from tempme_jax.compare.paper import select_rows

TABLE = Table("Table 5: MSR-VTT, ViT-B/16, full fine-tuning", select_rows([5]))
