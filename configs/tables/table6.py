"""Table 6 of the paper: UMT, with frames apart and with TempMe, retrieval on MSR-VTT.

    tempme compare configs/tables/table6.py
    tempme compare configs/tables/table6.py --data configs/umt_msrvtt.py

UMT joins all frames to one sequence, UMT4Clip encodes every frame by itself. The paper gives no
settings of merging; docs/methods/umt.md says how ours were chosen.
"""

from tempme_jax.compare.contenders import Table
from tempme_jax.compare.paper import select_rows

TABLE = Table(
    title="Table 6: MSR-VTT, UMT-B/16",
    rows=select_rows([6]),
    built_in="umt_moving_shapes.py",
)
