"""Table 16 of the paper: the number of frames, on MSR-VTT with B/32.

tempme compare configs/tables/table16.py
tempme compare configs/tables/table16.py --data configs/msrvtt.py
"""

from tempme_jax.compare.contenders import Table
from tempme_jax.compare.paper import select_rows

# The built-in videos are stored with 8 frames: rows use half of them, and all.
SMALL = {
    "LoRA, 8 frames": {"name": "LoRA, 4 frames", "num_frames": 4},
    "TempMe, 8 frames": {
        "name": "TempMe, 4 frames", "num_frames": 4, "layers": (3, 4), "groups": (2, 2),
    },
    "LoRA, 12 frames": {"name": "LoRA, 8 frames"},
    "TempMe, 12 frames": {"name": "TempMe, 8 frames"},
}  # fmt: skip

TABLE = Table("Table 16: number of frames", select_rows([16]), SMALL)
