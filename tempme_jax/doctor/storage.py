"""Checks of caches, weights, disks, and limits of the system that may be too small."""

import contextlib
import importlib.util
import os
import pathlib
import shutil
import sys
from collections.abc import Iterator

from tempme_jax.doctor.finding import GIB, Finding, State
from tempme_jax.doctor.software import join_first, make_install_command
from tempme_jax.words import printable_name

# Weights of a base CLIP take 0.6 GiB, those of a large one 1.7 GiB.
LEAST_DISK = 2 * GIB
LEAST_FILES = 1024
# Containers get 64 MiB by default; a batch of 64 videos of 12 frames takes 110 MiB.
SMALL_SHARED = 64 * 2**20


def check_compile_cache() -> Iterator[Finding]:
    """Check the folder in which compiled programs are kept."""
    import jax

    from tempme_jax import compile_cache

    folder = compile_cache.find_cache_folder()
    files, size = measure_folder(folder)
    values = {"folder": str(folder), "files": files, "bytes": size}
    text = f"{printable_name(os.fsencode(folder))}: {files} files, {size / 2**20:.0f} MiB"
    # JAX adds the attributes of its config when it starts.
    if not jax.config.jax_enable_compilation_cache:  # pyright: ignore[reportAttributeAccessIssue]
        text, cure = f"{text}; off: each start compiles", "unset JAX_ENABLE_COMPILATION_CACHE"
        yield Finding("compiled", State.PROBLEM, text, cure, {"on": False, **values})
    elif not os.access(find_existing_folder(folder), os.W_OK):
        text, cure = f"{text}; cannot be written to", "export XDG_CACHE_HOME=FOLDER"
        yield Finding("compiled", State.PROBLEM, text, cure, {"on": False, **values})
    else:
        yield Finding("compiled", State.OK, f"{text}; on", "", {"on": True, **values})


def check_weights() -> Iterator[Finding]:
    """Check the built-in weights, and list the CLIP weights in Hugging Face's cache."""
    import huggingface_hub
    from huggingface_hub import constants, errors

    from tempme_jax.weights import hub

    lost = [name for name, file in hub.BUILT_IN.items() if not file.is_file()]
    if lost:
        text = f"the package lacks its built-in weights {', '.join(lost)}"
        yield Finding("weights", State.MISSING, text, make_install_command())
    folder = pathlib.Path(constants.HF_HUB_CACHE)
    try:
        repositories = huggingface_hub.scan_cache_dir(folder).repos
    except errors.CacheNotFound:
        repositories = ()
    sizes = {one.repo_id: one.size_on_disk for one in repositories if is_clip_repository(one)}
    sizes |= {name: measure_folder(place)[1] for name, place in hub.list_kept().items()}
    values = {"folder": str(folder), "clip": sizes, "offline": constants.HF_HUB_OFFLINE}
    built_in = ", ".join(name for name in hub.BUILT_IN if name not in lost) or "none"
    names = [f"{name} ({size / GIB:.1f} GiB)" for name, size in sorted(sizes.items())]
    place = printable_name(os.fsencode(folder))
    text = f"built in: {built_in}; in {place}: {join_first(names) or 'no CLIP'}"
    state, cure = State.OK if sizes else State.OPTIONAL, ""
    if not sizes and constants.HF_HUB_OFFLINE:
        text, cure = f"{text}, and downloads are off", "unset HF_HUB_OFFLINE"
    elif not sizes:
        text += " yet; loading one by name downloads it"
    yield Finding("weights", state, text, cure, values)


def is_clip_repository(repository) -> bool:
    """Return True if a cached Hugging Face repository holds CLIP weights in a known format."""
    from tempme_jax.weights import hub

    files = {file.file_name for revision in repository.revisions for file in revision.files}
    return (
        repository.repo_type == "model"
        and "clip" in repository.repo_id.lower()
        and not files.isdisjoint(hub.FILE_NAMES)
    )


def check_disk() -> Iterator[Finding]:
    """Check the free space on the disks of the caches."""
    from huggingface_hub import constants

    from tempme_jax import compile_cache

    folders = [compile_cache.find_cache_folder(), pathlib.Path(constants.HF_HUB_CACHE)]
    by_disk = {os.stat(find_existing_folder(folder)).st_dev: folder for folder in folders}
    for folder in by_disk.values():
        free = shutil.disk_usage(find_existing_folder(folder)).free
        text = f"{free / GIB:.1f} GiB free for {printable_name(os.fsencode(folder))}"
        values = {"folder": str(folder), "free": free}
        if free < LEAST_DISK:
            cure = "export HF_HOME=FOLDER XDG_CACHE_HOME=FOLDER, with a FOLDER on a larger disk"
            yield Finding("disk", State.PROBLEM, text, cure, values)
        else:
            yield Finding("disk", State.OK, text, values=values)


def check_limits() -> Iterator[Finding]:
    """Check limits of the system; yield only those that are too low."""
    yield from check_names()
    if importlib.util.find_spec("resource"):  # which Windows has not
        yield from check_open_files()
    shared = pathlib.Path("/dev/shm")
    if shared.is_dir() and shutil.disk_usage(shared).total <= SMALL_SHARED:
        size = shutil.disk_usage(shared).total
        text = f"/dev/shm has {size / 2**20:.0f} MiB, too little to read data in worker processes"
        cure = "docker run --shm-size=2g, or --config.data.workers=0"
        yield Finding("shared", State.PROBLEM, text, cure, {"bytes": size})


def check_names() -> Iterator[Finding]:
    """Yield a finding if names of files with other letters cannot be opened."""
    encoding = sys.getfilesystemencoding()
    if encoding.replace("-", "").lower() != "utf8":
        text = f"file names are read as {encoding}; files with other letters cannot be opened"
        values = {"encoding": encoding}
        yield Finding("names", State.PROBLEM, text, "export PYTHONUTF8=1", values)


def check_open_files() -> Iterator[Finding]:
    """Yield a finding if too few files may be open at a time."""
    import resource

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY and files < LEAST_FILES:
        text = f"only {files} files may be open at a time; {LEAST_FILES} are needed"
        cure = f"ulimit -n {LEAST_FILES}"
        yield Finding("files", State.PROBLEM, text, cure, {"open": files})


def measure_folder(folder: pathlib.Path) -> tuple[int, int]:
    """Return the number and the bytes of the files below a folder; zeros if it does not exist."""
    sizes = []
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # JAX may delete old ones meanwhile
                sizes.append(os.lstat(os.path.join(parent, name)).st_size)
    return len(sizes), sum(sizes)


def find_existing_folder(folder: pathlib.Path) -> pathlib.Path:
    """Return the folder, or its nearest parent that exists."""
    folder = folder.absolute()
    return next(place for place in (folder, *folder.parents) if os.path.exists(place))
