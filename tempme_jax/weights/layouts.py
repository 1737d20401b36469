"""Names and forms of CLIP's arrays in public checkpoints, as one table.

There are four layouts: OpenAI's (also of open_clip, MetaCLIP and LaCLIP); the published TempMe
code's, which has OpenAI's names behind the prefix `clip.` and what TempMe trains; Hugging Face
transformers'; and tempme_jax's own, where a name is the path of the parameter, joined by "/".
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from tempme_jax.adapters.base import Path
from tempme_jax.checks import require_one_of
from tempme_jax.weights.errors import WeightsError, raise_problems, shorten
from tempme_jax.weights.families import explain_names, name_family
from tempme_jax.weights.naming import MARKS, PUBLISHED_PREFIX, Arrays, tidy_names


@dataclasses.dataclass(frozen=True)
class Form:
    """A form of an array in another layout: `ours` reads it; `theirs`, its inverse, writes it."""

    ours: Callable[[np.ndarray], np.ndarray]
    theirs: Callable[[np.ndarray], np.ndarray]


def flatten_convolution(kernel: np.ndarray) -> np.ndarray:
    """Turn a kernel [d, 3, p, p] into [d, p * p * 3], which multiplies flattened patches."""
    _, colours, height, width = kernel.shape
    if colours != 3 or height != width:
        raise ValueError(f"the patches of {kernel.shape} are not square or not RGB")
    return kernel.transpose(0, 2, 3, 1).reshape(kernel.shape[0], -1)


def unflatten_convolution(kernel: np.ndarray) -> np.ndarray:
    """Turn a kernel [d, p * p * 3] into that of a convolution, [d, 3, p, p]."""
    patch = round((kernel.shape[1] / 3) ** 0.5)
    return kernel.reshape(-1, patch, patch, 3).transpose(0, 3, 1, 2)


SAME = Form(lambda a: a, lambda a: a)
# Training with shards of parameters (FSDP) makes arrays of one number of scalars.
SCALAR = Form(lambda a: a.reshape(()), lambda a: a)
TURNED = Form(np.transpose, np.transpose)
CONVOLUTION = Form(flatten_convolution, unflatten_convolution)
CLIP_POSITION = Form(lambda a: a.reshape(a.shape[1], a.shape[3]), lambda a: a[None, :, None, :])


@dataclasses.dataclass(frozen=True)
class LayoutRow:
    """The names of a parameter in the layouts; {q,k,v} stands for three stacked arrays."""

    ours: str
    openai: str
    huggingface: str | None
    form: Form = SAME
    huggingface_form: Form | None = None  # None: the same as OpenAI's


OUTSIDE_BLOCKS = [
    LayoutRow("logit_scale", "logit_scale", "logit_scale", SCALAR),
    LayoutRow("video/patches/kernel", "visual.conv1.weight",
        "vision_model.embeddings.patch_embedding.weight", CONVOLUTION),
    LayoutRow("video/class_embedding", "visual.class_embedding",
        "vision_model.embeddings.class_embedding"),
    LayoutRow("video/position_embedding", "visual.positional_embedding",
        "vision_model.embeddings.position_embedding.weight"),
    LayoutRow("video/ln_pre/scale", "visual.ln_pre.weight", "vision_model.pre_layrnorm.weight"),
    LayoutRow("video/ln_pre/bias", "visual.ln_pre.bias", "vision_model.pre_layrnorm.bias"),
    LayoutRow("video/ln_post/scale", "visual.ln_post.weight", "vision_model.post_layernorm.weight"),
    LayoutRow("video/ln_post/bias", "visual.ln_post.bias", "vision_model.post_layernorm.bias"),
    LayoutRow("video/projection", "visual.proj", "visual_projection.weight", SAME, TURNED),
    LayoutRow("text/token_embedding", "token_embedding.weight",
        "text_model.embeddings.token_embedding.weight"),
    LayoutRow("text/position_embedding", "positional_embedding",
        "text_model.embeddings.position_embedding.weight"),
    LayoutRow("text/ln_final/scale", "ln_final.weight", "text_model.final_layer_norm.weight"),
    LayoutRow("text/ln_final/bias", "ln_final.bias", "text_model.final_layer_norm.bias"),
    LayoutRow("text/projection", "text_projection", "text_projection.weight", SAME, TURNED),
]  # fmt: skip
IN_BLOCKS = [
    LayoutRow("ln_1/scale", "ln_1.weight", "layer_norm1.weight"),
    LayoutRow("ln_1/bias", "ln_1.bias", "layer_norm1.bias"),
    LayoutRow("attn/qkv/kernel", "attn.in_proj_weight", "self_attn.{q,k,v}_proj.weight"),
    LayoutRow("attn/qkv/bias", "attn.in_proj_bias", "self_attn.{q,k,v}_proj.bias"),
    LayoutRow("attn/out/kernel", "attn.out_proj.weight", "self_attn.out_proj.weight"),
    LayoutRow("attn/out/bias", "attn.out_proj.bias", "self_attn.out_proj.bias"),
    LayoutRow("ln_2/scale", "ln_2.weight", "layer_norm2.weight"),
    LayoutRow("ln_2/bias", "ln_2.bias", "layer_norm2.bias"),
    LayoutRow("mlp/fc/kernel", "mlp.c_fc.weight", "mlp.fc1.weight"),
    LayoutRow("mlp/fc/bias", "mlp.c_fc.bias", "mlp.fc1.bias"),
    LayoutRow("mlp/proj/kernel", "mlp.c_proj.weight", "mlp.fc2.weight"),
    LayoutRow("mlp/proj/bias", "mlp.c_proj.bias", "mlp.fc2.bias"),
]
# The parameters that the published TempMe code trains; a block need not have them.
TRAINED_IN_BLOCKS = [
    LayoutRow("attn/qkv/lora_a", "attn.TVPt_LoRA_a", None, TURNED),
    LayoutRow("attn/qkv/lora_b", "attn.TVPt_LoRA_b", None, TURNED),
    LayoutRow("join_clips/clip_position", "TVPt_Video_Positional_embedding", None, CLIP_POSITION),
]
# The prefix before the number of a block, by layout and tower.
BLOCK_PREFIXES = {
    "openai": {"video": "visual.transformer.resblocks.", "text": "transformer.resblocks."},
    "huggingface": {"video": "vision_model.encoder.layers.", "text": "text_model.encoder.layers."},
}
TOWERS = ("video", "text")


@dataclasses.dataclass(frozen=True)
class LayoutEntry:
    """A parameter in a file: its path, its names there (three for a split q, k, v), its form."""

    path: Path
    names: tuple[str, ...]
    form: Form
    optional: bool = False

    def read(self, arrays: Arrays) -> np.ndarray:
        """Return the parameter, float32, from the arrays of the file."""
        parts = [arrays[name] for name in self.names]
        stored = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return np.asarray(self.form.ours(stored), dtype=np.float32, order="C")

    def write(self, parameter: np.ndarray) -> Arrays:
        """Return the arrays of the file, contiguous, for the parameter."""
        stored = self.form.theirs(np.asarray(parameter))
        parts = [stored] if len(self.names) == 1 else np.split(stored, len(self.names))
        return {n: np.array(part, order="C") for n, part in zip(self.names, parts, strict=True)}


def read_layout(
    arrays: Arrays, leave_out: Sequence[str] = ()
) -> tuple[str, dict[Path, np.ndarray]]:
    """Recognise the layout of arrays; return it with the parameters by path, float32.

    Args:
        arrays: arrays by the names in a file.
        leave_out: names, or beginnings of names before a dot, of arrays that are not read.

    Raises:
        WeightsError: if the layout is unknown, or arrays are missing, extra or misshapen; it lists
            them.
    """
    given, arrays = arrays, tidy_names(arrays, leave_out)
    layout = recognise_layout(arrays)
    if layout == "tempme_jax":
        refuse_integers(arrays)
        params = {tuple(n.split("/")): np.asarray(a, np.float32) for n, a in arrays.items()}
        expected = list_entries("openai", {tower: find_depth(params, tower) for tower in TOWERS})
        missing = {entry.path for entry in expected} - params.keys()
        raise_problems({"missing": ["/".join(path) for path in missing]})
        refuse_not_finite(params, {})
        return layout, params
    expected = list_entries(layout, find_depths(layout, arrays))
    present = [e for e in expected if not e.optional or set(e.names) <= arrays.keys()]
    used = {name for entry in present for name in entry.names}
    missing, extra = used - arrays.keys(), arrays.keys() - used
    if missing or extra:
        explain_names({*given, *arrays}, extra)
    raise_problems({"missing": missing, "unexpected": extra})
    refuse_integers(arrays)
    params, misshapen = {}, []
    for entry in present:
        try:
            params[entry.path] = entry.read(arrays)
        except (ValueError, IndexError):  # sizes that the form cannot have
            misshapen += [f"{name} {arrays[name].shape}" for name in entry.names]
    raise_problems({"misshapen": misshapen})
    refuse_not_finite(params, {entry.path: " ".join(entry.names) for entry in present})
    return layout, params


def write_layout(layout: str, params: dict[Path, np.ndarray]) -> Arrays:
    """Return the arrays of a file in "tempme_jax", "openai", "published" or "huggingface" layout.

    Raises:
        WeightsError: if the layout has no place for some of the parameters; it lists them.
        ValueError: if the layout is unknown.
    """
    require_one_of(layout, MARKS, "layout")
    if layout == "tempme_jax":
        return {"/".join(path): np.array(a, order="C") for path, a in params.items()}
    depth = {tower: find_depth(params, tower) for tower in TOWERS}
    places = {entry.path: entry for entry in list_entries(layout, depth)}
    homeless = ["/".join(path) for path in params if path not in places]
    raise_problems({f"without a place in the layout {layout!r}": homeless})
    arrays = {}
    for path, parameter in params.items():
        arrays.update(places[path].write(parameter))
    return arrays


def refuse_integers(arrays: Arrays) -> None:
    """Raise a WeightsError that lists the arrays of whole or complex numbers, if there are any."""
    kinds = {name: str(a.dtype) for name, a in arrays.items() if a.dtype.kind in "iubcO"}
    raise_problems({"not of real numbers": [f"{name} ({kind})" for name, kind in kinds.items()]})


def refuse_not_finite(params: dict[Path, np.ndarray], names: Mapping[Path, str]) -> None:
    """Raise a WeightsError that lists the parameters, by names in a file, with NaN or infinity."""
    broken = [
        names.get(path, "/".join(path)) for path, a in params.items() if not np.isfinite(a).all()
    ]
    raise_problems({"with NaN or infinite numbers": broken})


def recognise_layout(names: Iterable[str]) -> str:
    """Return the layout that has these names; raise a WeightsError if none has."""
    names = set(names)
    for layout, mark in MARKS.items():
        if mark in names:
            return layout
    family, marks = name_family(names), ", ".join(map(repr, MARKS.values()))
    told = f", but {family}" if family else ""
    raise WeightsError(
        f"of no known layout of CLIP with a ViT{told}: none of {marks} is among the "
        f"{len(names)} arrays, which are {shorten(names)}"
    )


def list_entries(layout: str, depth: dict[str, int]) -> list[LayoutEntry]:
    """List every parameter that a file in a layout can hold, for towers of these depths."""
    return [
        *(make_entry(layout, row) for row in OUTSIDE_BLOCKS),
        *(
            make_entry(layout, row, tower=tower, block=i, optional=row in TRAINED_IN_BLOCKS)
            for tower in depth
            for i in range(depth[tower])
            for row in IN_BLOCKS + (TRAINED_IN_BLOCKS if layout == "published" else [])
        ),
    ]


def make_entry(
    layout: str, row: LayoutRow, *, tower: str = "", block: int = 0, optional: bool = False
) -> LayoutEntry:
    """Make the entry of a row in a layout, for a block of a tower or outside the blocks."""
    column = "huggingface" if layout == "huggingface" else "openai"
    name, path = getattr(row, column), tuple(row.ours.split("/"))
    if tower:
        name = f"{BLOCK_PREFIXES[column][tower]}{block}.{name}"
        path = (tower, f"block_{block}", *path)
    names = tuple(name.replace("{q,k,v}", part) for part in "qkv") if "{" in name else (name,)
    if layout == "published":
        names = tuple(PUBLISHED_PREFIX + name for name in names)
    form = row.huggingface_form if column == "huggingface" and row.huggingface_form else row.form
    return LayoutEntry(path, names, form, optional)


def find_depths(layout: str, names: Iterable[str]) -> dict[str, int]:
    """Return the number of blocks of each tower in a file."""
    column = "huggingface" if layout == "huggingface" else "openai"
    prefix = PUBLISHED_PREFIX if layout == "published" else ""
    return {t: count_blocks(prefix + b, names) for t, b in BLOCK_PREFIXES[column].items()}


def find_depth(params: dict[Path, np.ndarray], tower: str) -> int:
    """Return the number of blocks of a tower among the parameters."""
    return count_blocks(f"{tower}/block_", map("/".join, params))


def count_blocks(prefix: str, names: Iterable[str]) -> int:
    """Count blocks by the highest number behind `prefix`."""
    pattern = re.compile(re.escape(prefix) + r"(\d{1,3})\b")
    return max((int(m[1]) + 1 for name in names if (m := pattern.match(name))), default=0)


def check_params(
    params: dict[Path, np.ndarray], expected: dict[Path, tuple[int, ...]], *, may_lack: set[Path]
) -> None:
    """Raise a WeightsError unless the parameters have the paths and shapes of a model.

    The paths in `may_lack` may be missing, but only all together.
    """
    missing = expected.keys() - params.keys()
    if missing >= may_lack:
        missing -= may_lack
    raise_problems(
        {
            "missing": ["/".join(path) for path in missing],
            "unexpected": ["/".join(path) for path in params.keys() - expected.keys()],
            "misshapen": [
                f"{'/'.join(path)} {params[path].shape}, not {shape}"
                for path, shape in expected.items()
                if path in params and params[path].shape != shape
            ],
        }
    )
