"""Caches, weights, disks, and limits that only matter where they are too small."""

import contextlib
import os
import pathlib
import resource
import shutil
import sys
from collections.abc import Iterator

from tempme_jax.doctor.finding import GIB, Finding, State
from tempme_jax.doctor.software import install, listed

# CLIP of the base size takes 0.6 GiB, a large one 1.7.
LEAST_DISK = 2 * GIB
LEAST_FILES = 1024
# What containers have unless told otherwise; a batch of 64 videos of 12 frames takes 110 MiB.
SMALL_SHARED = 64 * 2**20


def compiled() -> Iterator[Finding]:
    """Where compiled programs are kept, and whether they are."""
    import jax

    from tempme_jax import compile_cache

    folder = compile_cache.cache_folder()
    files, size = size_of(folder)
    values = {"folder": str(folder), "files": files, "bytes": size}
    text = f"{shown(folder)}: {files} files, {size / 2**20:.0f} MiB"
    if not jax.config.jax_enable_compilation_cache:
        text, cure = f"{text}; off: each start compiles", "unset JAX_ENABLE_COMPILATION_CACHE"
        yield Finding("compiled", State.PROBLEM, text, cure, {"on": False, **values})
    elif not os.access(existing(folder), os.W_OK):
        text, cure = f"{text}; cannot be written to", "export XDG_CACHE_HOME=FOLDER"
        yield Finding("compiled", State.PROBLEM, text, cure, {"on": False, **values})
    else:
        yield Finding("compiled", State.OK, f"{text}; on", "", {"on": True, **values})


def weights() -> Iterator[Finding]:
    """The built-in weights, and which of CLIP are in Hugging Face's cache."""
    import huggingface_hub
    from huggingface_hub import constants, errors

    from tempme_jax.weights import hub

    lost = [name for name, file in hub.BUILT_IN.items() if not file.is_file()]
    if lost:
        yield Finding("weights", State.MISSING, f"the built-in {', '.join(lost)}", install())
    folder = pathlib.Path(constants.HF_HUB_CACHE)
    try:
        repositories = huggingface_hub.scan_cache_dir(folder).repos
    except errors.CacheNotFound:
        repositories = ()
    sizes = {one.repo_id: one.size_on_disk for one in repositories if holds_clip(one)}
    values = {"folder": str(folder), "clip": sizes, "offline": constants.HF_HUB_OFFLINE}
    built_in = ", ".join(name for name in hub.BUILT_IN if name not in lost) or "none"
    names = [f"{name} ({size / GIB:.1f} GiB)" for name, size in sorted(sizes.items())]
    text = f"built in: {built_in}; in {shown(folder)}: {listed(names) or 'no CLIP'}"
    state, cure = State.OK if sizes else State.OPTIONAL, ""
    if not sizes and constants.HF_HUB_OFFLINE:
        text, cure = f"{text}, nor is one downloaded", "unset HF_HUB_OFFLINE"
    elif not sizes:
        text += " yet; one is downloaded when it is loaded by name"
    yield Finding("weights", state, text, cure, values)


def holds_clip(repository) -> bool:
    """Whether a repository in Hugging Face's cache has weights of a CLIP that can be loaded."""
    from tempme_jax.weights import hub

    files = {file.file_name for revision in repository.revisions for file in revision.files}
    return (
        repository.repo_type == "model"
        and "clip" in repository.repo_id.lower()
        and not files.isdisjoint(hub.FILE_NAMES)
    )


def disk() -> Iterator[Finding]:
    """How much room there is for the caches."""
    from huggingface_hub import constants

    from tempme_jax import compile_cache

    folders = [compile_cache.cache_folder(), pathlib.Path(constants.HF_HUB_CACHE)]
    for folder in {os.stat(existing(folder)).st_dev: folder for folder in folders}.values():
        free = shutil.disk_usage(existing(folder)).free
        text = f"{free / GIB:.1f} GiB free for {shown(folder)}"
        values = {"folder": str(folder), "free": free}
        if free < LEAST_DISK:
            cure = "export HF_HOME=FOLDER XDG_CACHE_HOME=FOLDER, of a larger disk"
            yield Finding("disk", State.PROBLEM, text, cure, values)
        else:
            yield Finding("disk", State.OK, text, values=values)


def limits() -> Iterator[Finding]:
    """What the system allows too little of; nothing where it allows enough."""
    encoding = sys.getfilesystemencoding()
    if encoding.replace("-", "").lower() != "utf8":
        text = f"names of files are {encoding}, so that others cannot be opened"
        values = {"encoding": encoding}
        yield Finding("names", State.PROBLEM, text, "export PYTHONUTF8=1", values)
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY and files < LEAST_FILES:
        text = f"only {files} can be open at a time; {LEAST_FILES} are wanted"
        cure = f"ulimit -n {LEAST_FILES}"
        yield Finding("files", State.PROBLEM, text, cure, {"open": files})
    shared = pathlib.Path("/dev/shm")
    if shared.is_dir() and shutil.disk_usage(shared).total <= SMALL_SHARED:
        size = shutil.disk_usage(shared).total
        text = f"/dev/shm has {size / 2**20:.0f} MiB, too little for data.workers"
        cure = "docker run --shm-size=2g, or --config.data.workers=0"
        yield Finding("shared", State.PROBLEM, text, cure, {"bytes": size})


def size_of(folder: pathlib.Path) -> tuple[int, int]:
    """How many files are below a folder, and their bytes; 0 and 0 where there is none."""
    sizes = []
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # JAX deletes the oldest meanwhile
                sizes.append(os.lstat(os.path.join(parent, name)).st_size)
    return len(sizes), sum(sizes)


def existing(folder: pathlib.Path) -> pathlib.Path:
    """The folder, or that above it in which it would be made."""
    folder = folder.absolute()
    return next(place for place in (folder, *folder.parents) if os.path.exists(place))


def shown(folder: pathlib.Path) -> str:
    """A folder as it can be printed, whatever bytes are in its name."""
    return os.fsencode(folder).decode("utf-8", "replace")
