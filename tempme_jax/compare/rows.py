"""The rows of the paper's tables: the settings with which each is ours, and what to know of it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tempme_jax.compare.figures import Printed

A_SLIP_OF_64 = (
    "The paper counts the patch embedding of 12 frames instead of 64, which is 6.01 too few. "
    "Counted that way, ours agrees."
)
ONE_LESS = "The paper adds the rounded 0.49 and 0.01; the sum itself, 507,648, rounds to 0.51."
SHORT_BY_A_DIGIT = "Differs in the last printed digit; the paper's counting rule is a fit."
MISPRINT_OF_8 = (
    "No setting with r=2, 70 % and 90 % gives 25.0. The paper also says 33 % less than LoRA; "
    "that gives 23.2."
)
MISPRINT_OF_ADAPTER = "The paper prints R-Sum 190.2; its three recalls add up to 190.5."
PROMPTS_PER_FRAME = (
    "The paper prints 2369 = 12 x 197 + 5; its GFLOPs need 5 prompts in every frame."
)
VOP_S_SLIP = (
    "VoP's 14.1 is a slip of its own paper; its real count is 14.27 (docs/methods/vop.md). The "
    "TempMe paper's GFLOPs and tokens count fewer prompts, as the next row does. Its accuracies of "
    "VoP and DGL with B/32 look swapped."
)
DGL_S_COUNT = (
    "DGL's code projects keys and values twice, and GFLOPs count that. GMAC counts once, as here."
)
MV_ADAPTER_S = (
    'Includes CLIP\'s biases; rounds to the 3.6 of the paper. For GFLOPs it says only ">210".'
)
RECONSTRUCTED = (
    'Ours is a reconstruction without RAP\'s equations. For GFLOPs the paper says only ">210".'
)
CHOSEN_FOR_UMT = (
    "The paper gives no settings of TempMe for UMT. Ours are chosen to cost what it prints."
)


@dataclasses.dataclass(frozen=True)
class PaperRow:
    """A row of a table of the paper.

    Attributes:
        table: number of the table; 0 for a figure.
        name: our name of the row; no two rows of a table and a data set have the same.
        method, backbone, frames, options: settings of the model, as `create` takes them.
        data: data set, by the name of its config.
        weights: pretrained weights, by the short names of `configs/common.py`; empty for those of
            the backbone.
        note: what to know of its figures, such as why our count differs.
        line: name of its line in the file of the table; empty if that is `name`.
        only: the figures that these settings explain; empty for all of the line.
        printed: the figures that the paper prints, by the names in its file.
    """

    table: int
    name: str
    method: str
    backbone: str = "ViT-B/32"
    frames: int = 12
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    data: str = "msrvtt"
    weights: str = ""
    note: str = ""
    line: str = ""
    only: tuple[str, ...] = ()
    printed: Mapping[str, Printed] = dataclasses.field(default_factory=dict)


B16 = "ViT-B/16"
NO_CLIPS = {"groups": (1, 1, 1), "layers": (8, 9, 10), "clip_positions": False}
NOTHING_MERGED = {"r": 0, "keep_cross": 1.0, "keep_intra": 1.0}
# The VoP paper counts no frame positions; TempMe's GFLOPs for VoP count fewer prompts than VoP.
VOP = {"positions": False}
VOP_COUNTED = VOP | {"generic": 0, "video": 4}
COUNTED = ("gflops", "tokens")
NO_GATE = {"gate": False}
# Of Table 3: methods with other names, the frames of the sets, and the rows of each set.
NAMED = {"CLIP4Clip": "full", "VoP": "vop-fc"}
FRAMES = {"activitynet": 64, "didemo": 64, "lsmdc": 12}
OWN_FRAMES = {"PLEVU": 16, "VoP": 12}  # of long videos, too
OPTIONS = {"VoP": VOP}
OTHER_SETS = {
    "activitynet": "CLIP4Clip Prompt Adapter LoRA VoP DGL DiffRate ToMe TempMe",
    "didemo": "CLIP4Clip Prompt Adapter LoRA PLEVU VoP DiffRate ToMe TempMe",
    "lsmdc": "CLIP4Clip Prompt Adapter LoRA PLEVU VoP DGL DiffRate ToMe TempMe",
}
B16_WEIGHTS = {"LaCLIP": "laclip-b16", "MetaCLIP": "metaclip-b16"}

# Without what the paper prints, which `compare.paper.ROWS` have.
ROWS = (
    PaperRow(1, "LoRA", "lora"),
    PaperRow(1, "DiffRate", "diffrate"),
    PaperRow(1, "ToMe", "tome"),
    PaperRow(1, "TempMe", "tempme"),
    PaperRow(1, "LoRA", "lora", B16),
    PaperRow(1, "DiffRate", "diffrate", B16),
    PaperRow(1, "ToMe", "tome", B16),
    PaperRow(1, "TempMe", "tempme", B16),
    *(PaperRow(1, f"{name}, 64 frames", name.lower(), frames=64, data="activitynet",
        note=A_SLIP_OF_64)
      for name in ("LoRA", "DiffRate", "ToMe", "TempMe")),
    PaperRow(2, "CLIP4Clip", "full"),
    PaperRow(2, "PLEVU", "plevu", frames=16),
    PaperRow(2, "VoP", "vop-fc", options=VOP, note=VOP_S_SLIP),
    PaperRow(2, "VoP, prompts as counted", "vop-fc", options=VOP_COUNTED, line="VoP", only=COUNTED),
    PaperRow(2, "DGL", "dgl", note=DGL_S_COUNT),
    PaperRow(2, "Prompt", "prompt"),
    PaperRow(2, "Adapter", "adapter", note=MISPRINT_OF_ADAPTER),
    PaperRow(2, "LoRA", "lora"),
    PaperRow(2, "EViT", "evit", note=SHORT_BY_A_DIGIT),
    PaperRow(2, "DiffRate", "diffrate"),
    PaperRow(2, "STA", "sta"),
    PaperRow(2, "ToMe", "tome"),
    PaperRow(2, "TESTA", "testa", options=NO_GATE),
    PaperRow(2, "TempMe", "tempme", note=ONE_LESS),
    PaperRow(2, "MV-Adapter", "mv-adapter", B16, note=MV_ADAPTER_S),
    PaperRow(2, "RAP", "rap", B16, note=RECONSTRUCTED),
    PaperRow(2, "VoP, B/16", "vop-fc", B16, options=VOP, line="VoP", note=VOP_S_SLIP),
    PaperRow(2, "VoP, B/16, as counted", "vop-fc", B16, options=VOP_COUNTED, line="VoP",
        only=COUNTED),
    PaperRow(2, "DGL, B/16", "dgl", B16, line="DGL", note=DGL_S_COUNT),
    PaperRow(2, "TempMe, B/16", "tempme", B16, line="TempMe", note=ONE_LESS),
    *(PaperRow(3, name, NAMED.get(name, name.lower()), data=data,
        frames=OWN_FRAMES.get(name, FRAMES[data]), options=OPTIONS.get(name, {}))
      for data, names in OTHER_SETS.items()
      for name in names.split()),
    PaperRow(4, "Prompt", "prompt", B16, note=PROMPTS_PER_FRAME),
    PaperRow(4, "Adapter", "adapter", B16, note=SHORT_BY_A_DIGIT),
    PaperRow(4, "LoRA", "lora", B16),
    PaperRow(4, "VoP", "vop-fc", B16, options=VOP, note=VOP_S_SLIP),
    PaperRow(4, "VoP, prompts as counted", "vop-fc", B16, options=VOP_COUNTED, line="VoP",
        only=COUNTED),
    PaperRow(4, "DGL", "dgl", B16, note=DGL_S_COUNT),
    PaperRow(4, "DiffRate", "diffrate", B16),
    PaperRow(4, "ToMe", "tome", B16),
    PaperRow(4, "TempMe", "tempme", B16),
    PaperRow(5, "CLIP4Clip", "full", B16),
    PaperRow(5, "CLIP4Clip + ToMe", "full+tome", B16),
    PaperRow(5, "CLIP4Clip + TempMe", "full+tempme", B16),
    *(PaperRow(table, name, method, backbone, data=data, note=note)
      for table, backbone, data in (
          (6, "UMT-B/16", "msrvtt"), (7, "UMT-B/16-QA", "msrvtt_qa"))
      for name, method, note in (
          ("UMT", "full+joined", ""),
          ("UMT4Clip", "full", ""),
          ("UMT4Clip + TempMe", "full+tempme", CHOSEN_FOR_UMT))),
    PaperRow(8, "CLIP-Straight", "clip"),
    PaperRow(8, "LoRA", "lora"),
    PaperRow(8, "+ ImgMe", "tome"),
    PaperRow(8, "+ ClipMe (TempMe)", "tempme"),
    PaperRow(9, "Neither (LoRA)", "lora"),
    PaperRow(9, "Temporal modeling", "tempme", options=NOTHING_MERGED, note=SHORT_BY_A_DIGIT),
    PaperRow(9, "Token reduction", "tempme", options=NO_CLIPS | {"round_kept": True}),
    PaperRow(9, "Both (TempMe)", "tempme"),
    PaperRow(10, "A0: 12-9-6-10-3-11-1", "tempme"),
    PaperRow(10, "A1: 12-9-4-10-1", "tempme", options={"layers": (8, 9), "groups": (3, 4)}),
    PaperRow(10, "A1: 12-9-1", "tempme", options={"layers": (8,), "groups": (12,)}),
    PaperRow(10, "A2: 12-9-6-10-3", "tempme", options={"layers": (8, 9), "groups": (2, 2)}),
    PaperRow(10, "A2: 12-9-4", "tempme", options={"layers": (8,), "groups": (3,)}),
    PaperRow(10, "A3: blocks 7, 9, 11", "tempme", options={"layers": (6, 8, 10)}),
    PaperRow(10, "A3: blocks 4, 7, 10", "tempme", options={"layers": (3, 6, 9)}),
    PaperRow(10, "A3: blocks 1, 5, 9", "tempme", options={"layers": (0, 4, 8)}),
    PaperRow(13, "Prompt", "prompt"),
    PaperRow(13, "ToMe + Prompt", "prompt+tome"),
    PaperRow(13, "TempMe + Prompt", "prompt+tempme"),
    PaperRow(13, "Adapter", "adapter"),
    PaperRow(13, "ToMe + Adapter", "adapter+tome"),
    PaperRow(13, "TempMe + Adapter", "adapter+tempme"),
    PaperRow(13, "LoRA", "lora"),
    PaperRow(13, "ToMe + LoRA", "tome"),
    PaperRow(13, "TempMe + LoRA", "tempme", note=ONE_LESS),
    *(PaperRow(14, f"{title}, {name}", name.lower(), B16, weights=weights)
      for title, weights in B16_WEIGHTS.items()
      for name in ("LoRA", "ToMe", "TempMe")),
    PaperRow(15, "Without clip positions", "tempme", options={"clip_positions": False}),
    PaperRow(15, "With clip positions", "tempme", note=ONE_LESS),
    PaperRow(16, "LoRA, 8 frames", "lora", frames=8, note=SHORT_BY_A_DIGIT),
    PaperRow(16, "TempMe, 8 frames", "tempme", frames=8, note=MISPRINT_OF_8),
    PaperRow(16, "LoRA, 12 frames", "lora"),
    PaperRow(16, "TempMe, 12 frames", "tempme"),
)  # fmt: skip
