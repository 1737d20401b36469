"""Export a model: write the files of both towers, and compare them with the model."""

import dataclasses
import importlib.metadata
import json
import os
import tempfile
from pathlib import Path

import jax

from tempme_jax.export.about import FORMAT, Agreement, ExportedModel
from tempme_jax.export.parity import compare_speeds, measure_agreement
from tempme_jax.export.runtime import SUFFIX, OnnxModel, name_files, require_package
from tempme_jax.files import write_text, write_whole
from tempme_jax.fingerprint import compute_fingerprint, describe_model
from tempme_jax.model import Model
from tempme_jax.version import __version__


class NotExportableError(ValueError):
    """A model uses an operation that a format does not have."""


@dataclasses.dataclass(frozen=True)
class Export:
    """The files that were written, and how they agree with the model.

    Attributes:
        files: the files by tower, and for StableHLO the description, "about".
        agreement: by tower.
        speedup: how many times as fast as in float32 videos are encoded in int8; None if they are
            in float32.
    """

    files: dict[str, Path]
    agreement: dict[str, Agreement]
    speedup: float | None = None


def export_onnx(model: Model, target: Path, *, int8: bool = False) -> Export:
    """Write a model as ONNX files, one for each tower.

    Args:
        model: the model.
        target: common name of the files: clip.onnx for clip.video.onnx and clip.text.onnx.
        int8: whether matrix products are of 8-bit whole numbers.

    Raises:
        NotExportableError: if the model uses an operation that has no node of ONNX here.
        MissingRuntimeError: if the packages of the extra [onnx] are not installed.
    """
    for package in ("onnx", "onnxruntime"):
        require_package(package)
    from tempme_jax.export.onnx_file import rewrite_about
    from tempme_jax.export.quantize import quantize

    files, about = name_files(target), describe_export(model, "float32")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        exact, speedup = Path(folder) / f"exact{SUFFIX}", None
        write_exact(model, exact, about)
        draft = exact
        if int8:
            draft, about["precision"] = Path(folder) / f"rounded{SUFFIX}", "int8"
            for tower, file in name_files(draft).items():
                quantize(name_files(exact)[tower], file)
                rewrite_about(file, about)
            speedup = compare_speeds(OnnxModel(exact), OnnxModel(draft))
        with jax.default_matmul_precision("highest"):
            about["agreement"] = measure_agreement(model, OnnxModel(draft))
        for tower, file in name_files(draft).items():
            rewrite_about(file, about)
            os.replace(file, files[tower])
    return Export(files, about["agreement"], speedup)


def write_exact(model: Model, target: Path, about: ExportedModel) -> None:
    """Write both towers of a model as ONNX files in float32.

    Raises:
        NotExportableError: if the model uses an operation that has no node of ONNX here.
    """
    import onnx

    from tempme_jax.export.graph import UnsupportedOperationError
    from tempme_jax.export.onnx_file import describe, make_onnx
    from tempme_jax.export.towers import split_towers

    for tower in split_towers(model):
        try:
            made = make_onnx(tower)
        except UnsupportedOperationError as error:
            raise NotExportableError(
                f"the {tower.name} tower of method {model.method!r} cannot be written as ONNX: it "
                f"uses the operation {error}; --format stablehlo holds every method"
            ) from error
        describe(made, about)
        onnx.save(made, name_files(target)[tower.name])


def export_stablehlo(model: Model, target: Path) -> Export:
    """Write a model as StableHLO, one file for each tower, and a description beside them.

    Args:
        model: the model.
        target: common name of the files: clip.stablehlo for clip.video.stablehlo and so on.
    """
    from tempme_jax.export import stablehlo
    from tempme_jax.export.towers import split_towers

    files = name_files(target, stablehlo.SUFFIX)
    for tower in split_towers(model):
        with write_whole(files[tower.name]) as unfinished:
            stablehlo.write_stablehlo(tower, unfinished)
    with jax.default_matmul_precision("highest"):
        agreement = measure_agreement(model, stablehlo.StableHloModel(model, files))
    about = describe_export(model, "float32") | {"agreement": agreement}
    described = target.with_name(f"{target.name.removesuffix(stablehlo.SUFFIX)}.stablehlo.json")
    write_text(described, json.dumps(about, indent=1))
    return Export(files | {"about": described}, agreement)


def describe_export(model: Model, precision: str) -> ExportedModel:
    """Describe a model for the file that it is exported to.

    Raises:
        NotExportableError: if the model compares texts with the frames of videos.
    """
    if model.tau:
        raise NotExportableError(
            "the model was trained to compare texts with the frames of videos "
            "(train.pooling='text'), and what is exported returns vectors of whole videos alone; "
            "export one that was trained with 'mean'"
        )
    description = describe_model(model)
    about: ExportedModel = {
        "format": FORMAT,
        "precision": precision,
        "fingerprint": compute_fingerprint(description),
        "description": description,
        "architecture": json.loads(json.dumps(dataclasses.asdict(model.arch))),
        "unit_videos": model.network.unit_videos,
        "scale": float(model.network.compute_scale(model.params)),
        "agreement": {},
        "versions": {
            "tempme_jax": __version__,
            **{name: importlib.metadata.version(name) for name in ("jax", "flax")},
        },
    }
    if model.vocabulary:
        about["vocabulary"] = model.vocabulary
    return about
