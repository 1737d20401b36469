"""Table 14 of the paper: backbones, on MSR-VTT with B/16.

    tempme compare configs/tables/table14.py
    tempme compare configs/tables/table14.py --data configs/msrvtt.py

The rows with CLIP are those of table4.py. LaCLIP's weights are made by
`tempme convert laion400m_laclip_vitb16.pt ...`, see README.
"""

from tempme_jax.compare.contenders import Table
from tempme_jax.compare.paper import select_rows

TABLE = Table(
    title="Table 14: LaCLIP and MetaCLIP, ViT-B/16",
    rows=select_rows([14]),
    not_built_in=(
        "it compares backbones of 224 pixels; give --data configs/msrvtt.py, and the weights "
        "that configs/common.py names"
    ),
)
