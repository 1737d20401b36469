"""Table 2 of the paper: the comparison of all methods, on MSR-VTT with B/32 and some with B/16.

    tempme compare configs/tables/table2.py
    tempme compare configs/tables/table2.py --data configs/msrvtt.py

Table 11 of the paper is the other direction, video to text.
"""

from tempme_jax.compare.contenders import Table
from tempme_jax.compare.paper import select_rows

TABLE = Table(
    title="Table 2: MSR-VTT, 12 frames",
    rows=select_rows([2]),
    # On the built-in set, which has one backbone, they would repeat rows before.
    small=dict.fromkeys(
        (
            *("VoP, prompts as counted", "VoP, B/16", "VoP, B/16, as counted"),
            *("DGL, B/16", "TempMe, B/16"),
        )
    ),
)
