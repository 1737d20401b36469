"""Recognise the layout of the arrays of a file, read them, and write them.

The layouts of other programs are tables: `clip_layouts`, `umt_layouts` and `siglip_layouts`. In
tempme_jax's own layout, a name is the path of the parameter, joined by "/".
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from tempme_jax.adapters.base import Path
from tempme_jax.checks import require_one_of
from tempme_jax.networks.architecture import Architecture
from tempme_jax.weights.clip_layouts import CLIP
from tempme_jax.weights.errors import WeightsError, raise_problems, shorten
from tempme_jax.weights.families import name_family
from tempme_jax.weights.forms import Family, LayoutEntry
from tempme_jax.weights.naming import MARKS, TEXT_MARKS, Arrays, tidy_names
from tempme_jax.weights.siglip_layouts import SIGLIP
from tempme_jax.weights.umt_layouts import UMT

FAMILIES = (CLIP, UMT, SIGLIP)


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
        expected = list_own_entries(find_family(params), arrays)
        missing = {entry.path for entry in expected if not entry.optional} - params.keys()
        raise_problems({"missing": ["/".join(path) for path in missing]})
        refuse_not_finite(params, {})
        return layout, params
    family = next(family for family in FAMILIES if layout in family.layouts)
    arrays = family.drop_useless(layout, arrays)
    expected = family.list_entries(layout, family.find_depths(layout, arrays))
    present = [e for e in expected if not e.optional or set(e.names) <= arrays.keys()]
    used = {name for entry in present for name in entry.names}
    missing, extra = used - arrays.keys(), arrays.keys() - used
    if missing or extra:
        family.explain({*given, *arrays}, extra)
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
    """Return the arrays of a file in a layout: "tempme_jax", or one of another program.

    Those are "openai", "published" and "huggingface" for CLIP, "umt", "umt_retrieval" and "umt_qa"
    for UMT, and "siglip" for SigLIP, as transformers has it.

    Raises:
        WeightsError: if the layout has no place for some of the parameters; it lists them.
        ValueError: if the layout is unknown.
    """
    require_one_of(layout, MARKS, "layout")
    if layout == "tempme_jax":
        return {"/".join(path): np.array(a, order="C") for path, a in params.items()}
    family = find_family(params)
    if layout not in family.layouts:
        raise WeightsError(
            f"the layout {layout!r} has no place for {family.name}: choose "
            f"{', '.join(map(repr, ('tempme_jax', *family.layouts)))}"
        )
    depths = family.find_depths("tempme_jax", map("/".join, params))
    places = {entry.path: entry for entry in family.list_entries(layout, depths)}
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
        if mark in names and TEXT_MARKS.get(layout, mark) in names:
            return layout
    family, marks = name_family(names), ", ".join(map(repr, dict.fromkeys(MARKS.values())))
    told = f", but {family}" if family else ""
    raise WeightsError(
        f"of no known layout of CLIP with a ViT, of SigLIP or of UMT{told}: none of {marks} is "
        f"among the {len(names)} arrays, which are {shorten(names)}"
    )


def find_family(params: Iterable[Path]) -> Family:
    """Return the family of backbones whose parameters these are."""
    paths = set(map("/".join, params))
    return next((family for family in FAMILIES if family.mark in paths), CLIP)


def get_family(backbone: str) -> Family | None:
    """Return the family of a backbone; None if it has no table of weights."""
    return next((family for family in FAMILIES if backbone in family.backbones), None)


def list_own_entries(family: Family, names: Iterable[str]) -> list[LayoutEntry]:
    """List the parameters of a file in tempme_jax's own layout, by the names in it."""
    return family.list_entries("tempme_jax", family.find_depths("tempme_jax", names))


def list_backbone_paths(arch: Architecture) -> set[Path]:
    """Return the paths of the parameters of a backbone, without what a method learns.

    They are an empty set if the backbone has no table of weights.
    """
    family = get_family(arch.backbone)
    if family is None:
        return set()
    entries = family.list_entries("tempme_jax", family.get_depths(arch))
    return {entry.path for entry in entries if not entry.optional}


def fit_backbone(
    params: dict[Path, np.ndarray], arch: Architecture, backbone: str
) -> dict[Path, np.ndarray]:
    """Return the parameters of a backbone, by those of a file and their architecture.

    Raises:
        WeightsError: if they are of another family, or lack what the backbone starts from.
    """
    family, asked = find_family(params), get_family(backbone)
    if family is not asked:
        name = asked.name if asked else f"{backbone!r}, whose files tempme_jax cannot read"
        raise WeightsError(f"these are weights of {family.name}, not of {name}")
    return family.fit(params, arch, backbone)


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
