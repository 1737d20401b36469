"""Python, libraries, extras and decoders; what is looked at is imported late, for it may fail."""

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

# So many libraries have a line of their own.
LINES = 3
# Of a list, so many are named.
NAMED = 3
# Extras that are for the same are alternatives.
PURPOSES = {
    "ray": "`tempme index --ray`",
    "torch": "the tests against PyTorch",
    "test": "the tests",
    "cuda12": "NVIDIA GPUs",
    "cuda13": "NVIDIA GPUs",
    "tpu": "TPUs",
}
# By format, libav's decoders. (The one called av1 decodes nothing unless the video card does.)
DECODERS = {
    "h264": ("h264",),
    "hevc": ("hevc",),
    "vp9": ("vp9", "libvpx-vp9"),
    "av1": ("libdav1d", "libaom-av1"),
    "mpeg4": ("mpeg4",),
    "mpeg2": ("mpeg2video",),
}
# Without them most videos, and all prepared frames, cannot be read.
NEEDED_DECODERS = ("h264", "JPEG")


def libraries() -> Iterator[Finding]:
    """Python and the libraries that are needed, each against its range in the metadata."""
    from tempme_jax.doctor import metadata

    found = metadata.required()
    good = [f"{library.name} {library.version}" for library in found if not library.fault]
    versions = {library.name: library.version for library in found}
    text = f"{len(good)} of {len(found)} are in range" + (f": {listed(good)}" if good else "")
    yield Finding("libraries", State.OK, text, values=versions)
    python = metadata.python(platform.python_version())
    if python.fault:
        cure = "PYTHON=python3.12 bash run.sh setup"
        yield Finding("python", State.MISSING, described(python), cure)
    # What is unsafe comes first, so that it has a line.
    faulty = sorted((one for one in found if one.fault), key=lambda one: not one.unsafe)
    for library in faulty[:LINES]:
        cure = f"pip install {shlex.quote(library.requirement)}"
        values = dataclasses.asdict(library)
        yield Finding("libraries", State.MISSING, described(library), cure, values)
    if faulty[LINES:]:
        names = listed([library.name for library in faulty[LINES:]])
        values = {library.name: library.fault for library in faulty[LINES:]}
        text = f"{len(faulty) - LINES} more are not: {names}; for all"
        yield Finding("libraries", State.MISSING, text, install(), values)


def extras() -> Iterator[Finding]:
    """What each extra of the metadata is for, and whether its libraries are here."""
    from tempme_jax.doctor import metadata

    by_purpose = collections.defaultdict(dict)
    for extra in metadata.extras():
        faulty = [library for library in metadata.required(extra) if library.fault]
        by_purpose[PURPOSES.get(extra, extra)][extra] = faulty
    here = [purpose for purpose, faulty in by_purpose.items() if not all(faulty.values())]
    if here:
        yield Finding("extras", State.OK, f"all is here for {', '.join(here)}")
    for purpose, by_extra in by_purpose.items():
        if purpose not in here:
            text = f"{' or '.join(by_extra)}, for {purpose}"
            text += "".join(partly(extra, faulty) for extra, faulty in by_extra.items())
            cure = " or ".join(map(install, by_extra))
            values = {name: [one.requirement for one in of] for name, of in by_extra.items()}
            yield Finding("extras", State.OPTIONAL, text, cure, values)


def partly(extra: str, faulty: list["Library"]) -> str:
    """What an extra lacks, if some of it is here; empty if none is."""
    from tempme_jax.doctor import metadata

    own = {need.name for need in metadata.requirements(metadata.PACKAGE, extra)}
    lacking = [library for library in faulty if library.name in own]
    if len(lacking) == len(own) and not any(library.version for library in lacking):
        return ""
    return f" ({listed([described(library) for library in lacking])})" if lacking else ""


def described(library: "Library") -> str:
    """What is wrong with a library, in a few words."""
    if library.version is None:
        return f"{library.name} is missing"
    unsafe = ", and has known security holes" if library.unsafe else ""
    return f"{library.name} {library.version} is {library.fault}{unsafe}"


def listed(names: Sequence[str]) -> str:
    """The first few of some names, and how many there are beyond."""
    rest = f", and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + rest


def install(extra: str = "") -> str:
    """The command that installs tempme_jax, with an extra, from where it came."""
    root = pathlib.Path(__file__).resolve().parents[2]
    extra = f"[{extra}]" if extra else ""
    if not (root / "pyproject.toml").is_file():
        return f"pip install {shlex.quote('tempme-jax' + extra)}"
    root = "." if root == pathlib.Path.cwd() else root
    return f"pip install -e {shlex.quote(f'{root}{extra}')}"


def decoders() -> Iterator[Finding]:
    """Which formats of videos and pictures can be decoded."""
    import av
    from PIL import features

    found = {name: any(map(can_decode, names)) for name, names in DECODERS.items()}
    found["JPEG"] = features.check("jpg")
    able = ", ".join(name for name, works in found.items() if works)
    yield Finding("decoders", State.OK, f"PyAV {av.__version__}: {able}", values=found)
    lost = [name for name, works in found.items() if not works]
    if lost:
        state = State.MISSING if set(lost) & set(NEEDED_DECODERS) else State.PROBLEM
        library = "pillow" if lost == ["JPEG"] else "av"
        cure = f"pip install --force-reinstall --no-deps --only-binary :all: {library}"
        yield Finding("decoders", state, f"{', '.join(lost)} cannot be decoded here", cure)


def can_decode(name: str) -> bool:
    """Whether libav has a decoder of this name."""
    import av.codec

    try:
        av.codec.Codec(name, "r")
    except ValueError:  # PyAV's UnknownCodecError is one
        return False
    return True
