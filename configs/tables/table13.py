"""Table 13 of the paper: TempMe and ToMe with other adapters than LoRA, on MSR-VTT with B/32.

tempme compare configs/tables/table13.py
tempme compare configs/tables/table13.py --data configs/msrvtt.py
"""

from tempme_jax.compare.contenders import Table
from tempme_jax.compare.paper import select_rows

TABLE = Table("Table 13: with Prompt, Adapter and LoRA", select_rows([13]))
