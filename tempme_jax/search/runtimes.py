"""What runs the model of an index: JAX, or ONNX Runtime with a file in the user's cache."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from tempme_jax.checks import require_one_of
from tempme_jax.search.errors import VideoIndexError

if TYPE_CHECKING:  # they import JAX, or ONNX Runtime
    from tempme_jax.export.runtime import OnnxModel
    from tempme_jax.model import Model

RUNTIMES = ("jax", "onnx")
# Vectors of float32 and int8 are compared with each other if the model agrees at least so much.
LEAST_TOGETHER = 0.999


class RuntimeFields(TypedDict):
    """The field "runtime" of a header; without it, the vectors are of JAX.

    Attributes:
        name: "onnx".
        precision: "float32" or "int8".
        cosine: how the vectors agree with those of JAX, see `export.runtime.OnnxModel.cosine`.
    """

    name: str
    precision: str
    cosine: NotRequired[float | None]


def describe_runtime(model: "Model") -> dict[str, Any]:
    """Return what a header says about what runs a model; empty for JAX."""
    if not model.is_exported:
        return {}
    exported: Any = model
    about = {"name": "onnx", "precision": exported.precision, "cosine": exported.cosine}
    return {"runtime": about}


def choose_runtime(
    header: Mapping[str, Any] | None, runtime: str | None, *, int8: bool
) -> tuple[str, str]:
    """Return the runtime and its precision: those asked for, else those of the index.

    Args:
        header: of the index; None if there is none yet.
        runtime: "jax", "onnx", or None for that of the index.
        int8: whether matrix products of 8-bit whole numbers are asked for.

    Raises:
        ValueError: if the two do not fit, or the name is unknown.

    >>> choose_runtime(None, None, int8=False), choose_runtime(None, None, int8=True)
    (('jax', 'float32'), ('onnx', 'int8'))
    """
    made = (header or {}).get("runtime", {"name": "jax", "precision": "float32"})
    if runtime is not None:
        require_one_of(runtime, RUNTIMES, "runtime")
    if int8:
        if runtime == "jax":
            raise ValueError("int8 runs in ONNX Runtime, not in JAX; give --runtime onnx, or none")
        return "onnx", "int8"
    if runtime in (None, made["name"]):
        return made["name"], made["precision"]
    return runtime, "float32"


def refuse_other_precision(header: Mapping[str, Any], model: "Model", uri: str) -> None:
    """Raise a VideoIndexError if vectors of an index and of a model are of other precisions.

    They are compared nevertheless if the one in int8 agrees enough with float32.
    """
    ours = describe_runtime(model).get("runtime", {"precision": "float32"})
    made = header.get("runtime", {"precision": "float32"})
    if ours["precision"] == made["precision"]:
        return
    cosine = (made if made["precision"] == "int8" else ours).get("cosine") or 0.0
    if not cosine >= LEAST_TOGETHER:
        use = "leave --int8 out" if ours["precision"] == "int8" else "leave --runtime out"
        raise VideoIndexError(
            f"the index {uri} holds vectors of {made['precision']}, and its model in int8 agrees "
            f"with float32 only to a cosine of {cosine:.4f}, where {LEAST_TOGETHER} is needed to "
            f"search both together; {use}, or rebuild the index with --rebuild"
        )


@contextlib.contextmanager
def explain_cache_errors() -> Iterator[None]:
    """Raise a VideoIndexError that says what to do if the user's cache cannot be written."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # Path.home() raises RuntimeError
        if not (isinstance(error, OSError) or "home directory" in str(error)):
            raise
        raise VideoIndexError(
            f"the exported model cannot be kept in the user's cache ({error}); set XDG_CACHE_HOME "
            "to a folder that can be written to, on a disk with room for the model"
        ) from error


def open_exported(
    description: Mapping[str, Any], precision: str, open_model: Callable[[], "Model"]
) -> "OnnxModel":
    """Open a model in ONNX Runtime; the first time it is exported to the user's cache.

    Args:
        description: of the model, see `fingerprint.describe_model`.
        precision: "float32" or "int8".
        open_model: opens the model itself, to export it.

    Raises:
        MissingRuntimeError: if the packages of the extra [onnx] are not installed.
        NotExportableError: if the model uses an operation that ONNX does not have here.
        VideoIndexError: if int8 differs too much from float32, or the cache cannot be written.
    """
    from tempme_jax.compile_cache import find_home_folder
    from tempme_jax.export import runtime
    from tempme_jax.export.about import NotExportedError
    from tempme_jax.fingerprint import compute_fingerprint

    runtime.require_package("onnxruntime")
    name = f"{compute_fingerprint(description)[:16]}-{precision}"
    with explain_cache_errors():
        file = find_home_folder() / "exported" / name / "model.onnx"
    try:
        exported = runtime.OnnxModel(file, warn=False)
        complete = all(path.is_file() for path in runtime.name_files(file).values())
    except (NotExportedError, OSError):
        exported, complete = None, False
    if exported is None or not complete:
        from tempme_jax.export.saving import export_onnx

        model = open_model()
        where = f"Exporting the model to ONNX in {precision} (once), into {file.parent}..."
        print(where, file=sys.stderr, flush=True)
        with explain_cache_errors():
            file.parent.mkdir(parents=True, exist_ok=True)
            export_onnx(model, file, int8=precision == "int8")
        exported = runtime.OnnxModel(file, warn=False)
    if precision == "int8" and not (exported.cosine or 0.0) >= runtime.LEAST_COSINE:
        raise VideoIndexError(
            f"the model in int8 agrees with float32 only to a cosine of {exported.cosine:.4f}, "
            f"where {runtime.LEAST_COSINE} is needed; leave --int8 out, and give --runtime onnx"
        )
    return exported
