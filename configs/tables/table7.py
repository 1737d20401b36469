"""Table 7 of the paper: UMT, with frames apart and with TempMe, answers to questions of MSRVTT-QA.

    tempme compare configs/tables/table7.py
    tempme compare configs/tables/table7.py --data configs/umt_msrvtt_qa.py

The rows are those of table6.py; the accuracy is the share of questions with the right answer.
"""

from tempme_jax.compare.contenders import Table
from tempme_jax.compare.paper import select_rows

TABLE = Table(
    title="Table 7: MSRVTT-QA, UMT-B/16",
    rows=select_rows([7]),
    built_in="umt_moving_shapes_qa.py",
)
