"""Table 8 of the paper: from LoRA to TempMe in two steps, on MSR-VTT with B/32.

tempme compare configs/tables/table8.py
tempme compare configs/tables/table8.py --data configs/msrvtt.py
"""

from tempme_jax.compare.contenders import Table
from tempme_jax.compare.paper import select_rows

TABLE = Table("Table 8: what the parts of TempMe contribute", select_rows([8]))
