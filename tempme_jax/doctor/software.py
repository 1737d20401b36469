"""Checks of Python, libraries, extras and decoders; imported late, as they may be broken."""

import collections
import dataclasses
import pathlib
import platform
import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tempme_jax.doctor.finding import Finding, State

if TYPE_CHECKING:
    from tempme_jax.doctor.metadata import Library

# Number of faulty libraries that get a line of their own.
LINES = 3
# Number of names that are printed of a longer list.
NAMED = 3
# Purposes of the extras; extras of one purpose are alternatives.
PURPOSES = {
    "train": "training, `tempme data` and `compare`",
    "search": "`tempme index`, `search` and `serve`",
    "mcp": "`tempme mcp`",
    "onnx": "ONNX Runtime",
    "bench": "`tempme bench search --against faiss`",
    "wandb": "`--log wandb`",
    "ray": "`tempme index --ray`",
    "torch": "the tests against PyTorch",
    "mteb": "`tempme_jax.mteb`",
    "test": "the tests",
    "docs": "the site",
    "dev": "`bash run.sh check`",
    "cuda12": "NVIDIA GPUs",
    "cuda13": "NVIDIA GPUs",
    "tpu": "TPUs",
}
# Decoders of libav, by format. (Its "av1" only works with a video card that decodes AV1.)
DECODERS = {
    "h264": ("h264",),
    "hevc": ("hevc",),
    "vp9": ("vp9", "libvpx-vp9"),
    "av1": ("libdav1d", "libaom-av1"),
    "mpeg4": ("mpeg4",),
    "mpeg2": ("mpeg2video",),
}
# Most videos need the first, all prepared frames the second.
NEEDED_DECODERS = ("h264", "JPEG")


def check_libraries() -> Iterator[Finding]:
    """Compare Python and the libraries with the ranges in the package's metadata."""
    from tempme_jax.doctor import metadata

    found = metadata.list_required()
    good = [f"{library.name} {library.version}" for library in found if not library.fault]
    versions = {library.name: library.version for library in found}
    text = f"{len(good)} of {len(found)} are in range" + (f": {join_first(good)}" if good else "")
    yield Finding("libraries", State.OK, text, values=versions)
    python = metadata.compare_python(platform.python_version())
    if python.fault:
        cure = "PYTHON=python3.12 bash run.sh setup"
        yield Finding("python", State.MISSING, describe_fault(python), cure)
    # Unsafe ones come first, so they always get a line.
    faulty = sorted((one for one in found if one.fault), key=lambda one: not one.unsafe)
    for library in faulty[:LINES]:
        cure = f"pip install {shlex.quote(library.requirement)}"
        values = dataclasses.asdict(library)
        yield Finding("libraries", State.MISSING, describe_fault(library), cure, values)
    if faulty[LINES:]:
        names = join_first([library.name for library in faulty[LINES:]])
        values = {library.name: library.fault for library in faulty[LINES:]}
        text = f"{len(faulty) - LINES} more are missing or out of range: {names}; to fix all"
        yield Finding("libraries", State.MISSING, text, make_install_command(), values)


def check_extras() -> Iterator[Finding]:
    """Check the libraries of each extra in the package's metadata."""
    from tempme_jax.doctor import metadata

    by_purpose = collections.defaultdict(dict)
    for extra in metadata.list_extras():
        if extra == "all":  # only holds others
            continue
        faulty = [library for library in metadata.list_required(extra) if library.fault]
        by_purpose[PURPOSES.get(extra, extra)][extra] = faulty
    here = [purpose for purpose, faulty in by_purpose.items() if not all(faulty.values())]
    if here:
        yield Finding("extras", State.OK, f"complete for {', '.join(here)}")
    for purpose, by_extra in by_purpose.items():
        if purpose not in here:
            unfit = [one for faulty in by_extra.values() for one in faulty if one.version]
            text = f"needed for {purpose}"
            text += f" ({join_first([describe_fault(one) for one in unfit])})" if unfit else ""
            cure = " or ".join(map(make_install_command, by_extra))
            values = {name: [one.requirement for one in of] for name, of in by_extra.items()}
            yield Finding("extras", State.OPTIONAL, text, cure, values)


def describe_fault(library: "Library") -> str:
    """Say what is wrong with a library."""
    if library.version is None:
        return f"{library.name} is missing"
    unsafe = " and has known security holes" if library.unsafe else ""
    return f"{library.name} {library.version} is {library.fault}{unsafe}"


def join_first(names: Sequence[str]) -> str:
    """Join the first few names, and say how many more there are."""
    rest = f", and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + rest


def make_install_command(extra: str = "") -> str:
    """Return the command that installs tempme_jax, with an extra, from its source."""
    root = pathlib.Path(__file__).resolve().parents[2]
    extra = f"[{extra}]" if extra else ""
    if not (root / "pyproject.toml").is_file():
        return f"pip install {shlex.quote('tempme-jax' + extra)}"
    root = "." if root == pathlib.Path.cwd() else root
    return f"pip install -e {shlex.quote(f'{root}{extra}')}"


def check_decoders() -> Iterator[Finding]:
    """Check which formats of videos and pictures can be decoded."""
    import av
    from PIL import features

    found = {name: any(map(can_decode, names)) for name, names in DECODERS.items()}
    found["JPEG"] = bool(features.check("jpg"))
    able = ", ".join(name for name, works in found.items() if works)
    yield Finding("decoders", State.OK, f"PyAV {av.__version__}: {able}", values=found)
    lost = [name for name, works in found.items() if not works]
    if lost:
        state = State.MISSING if set(lost) & set(NEEDED_DECODERS) else State.PROBLEM
        library = "pillow" if lost == ["JPEG"] else "av"
        cure = f"pip install --force-reinstall --no-deps --only-binary :all: {library}"
        yield Finding("decoders", state, f"{', '.join(lost)} cannot be decoded here", cure)


def can_decode(name: str) -> bool:
    """Return True if libav has a decoder of this name."""
    import av.codec

    try:
        av.codec.Codec(name, "r")
    except ValueError:  # PyAV's UnknownCodecError is one
        return False
    return True
