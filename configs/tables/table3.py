"""Table 3 of the paper: the other sets.

    tempme compare configs/tables/table3.py
    tempme compare configs/tables/table3.py --data configs/lsmdc.py

The rows are those of the data set; on the built-in set every method runs once. What the paper
prints of these sets is not known here.
"""

from tempme_jax.compare.paper import rows_of
from tempme_jax.compare.tables import Table

TABLE = Table(
    title="Table 3: ActivityNet, DiDeMo and LSMDC, ViT-B/32",
    rows=tuple(rows_of([3])),
)
