"""Table 3 of the paper: ActivityNet, DiDeMo and LSMDC.

    tempme compare configs/tables/table3.py
    tempme compare configs/tables/table3.py --data configs/lsmdc.py

The rows are those of the chosen data set; on the built-in set every method runs once, beside the
paper's figures for the first set that has its row. Table 12 is the other direction, video to text.
"""

from tempme_jax.compare.contenders import Table
from tempme_jax.compare.paper import select_rows

TABLE = Table("Table 3: ActivityNet, DiDeMo and LSMDC, ViT-B/32", select_rows([3]))
