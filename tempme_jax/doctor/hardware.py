"""Checks of the system, devices and memory; libraries are imported late: they may be broken."""

import collections
import contextlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator

from tempme_jax.doctor.finding import GIB, Finding, State
from tempme_jax.doctor.software import make_install_command

# Modules of Python that only Unix has: limits of processes, locks of files, terminals.
UNIX_MODULES = ("resource", "fcntl", "termios")


def check_system() -> Iterator[Finding]:
    """Say what works on a system without Python's modules for Unix, such as Windows."""
    if lost := [name for name in UNIX_MODULES if importlib.util.find_spec(name) is None]:
        system = platform.system()
        text = (
            f"on {system} itself, models and `tempme search`, `serve`, `stats`, `visualize`, "
            "`convert`, `export` and `download` work; `tempme index`, `data` and `compare` and "
            "training do not, and need Linux or macOS"
        )
        cure = "wsl --install, and in WSL: bash run.sh setup" if system == "Windows" else ""
        yield Finding("system", State.PROBLEM, text, cure, {"missing": lost})


def check_devices() -> Iterator[Finding]:
    """Check the devices that JAX computes on, and explain why it does not use a GPU."""
    # A check must not take the memory that a training on the same GPU needs.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax

    try:
        found = jax.devices()
    except (RuntimeError, AssertionError) as error:  # no device of JAX_PLATFORMS
        found, asked = [], _read_platforms()
        text = f"JAX finds no device: {error}".rstrip(": ")
        cure = "unset JAX_PLATFORMS" if asked else ""
        text += f" (JAX_PLATFORMS={asked})" if asked else ""
        yield Finding("devices", State.MISSING, text, cure)
    kinds = collections.defaultdict(list)
    for device in found:
        kinds[device.platform, device.device_kind].append(device)
    for (kind, name), group in kinds.items():
        limits = [read_device_memory(device) for device in group]
        text = f"JAX computes on {len(group)} {kind}" + (f": {name}" if name != kind else "")
        if limits[0] is not None:
            text += f", {limits[0] / GIB:.1f} GiB each that JAX may use"
        values = {"platform": kind, "kind": name, "count": len(group), "memory": limits}
        yield Finding("devices", State.OK, text, values=values)
    if all(device.platform == "cpu" for device in found):
        yield from explain_idle_gpu(_read_platforms())


def _read_platforms() -> str | None:
    import jax

    # JAX adds the attributes of its config when it starts.
    return jax.config.jax_platforms  # pyright: ignore[reportAttributeAccessIssue]


def read_device_memory(device) -> int | None:
    """Return the bytes of a device that JAX may use; None if unknown, as for a CPU."""
    try:
        return (device.memory_stats() or {}).get("bytes_limit")
    except RuntimeError:  # a platform that does not count its memory
        return None


def explain_idle_gpu(platforms: str | None) -> Iterator[Finding]:
    """Say how to make JAX use the NVIDIA GPU, if there is one; `platforms` is JAX_PLATFORMS."""
    card = find_nvidia_gpu()
    if card is None:
        return
    name, extra = card
    text = f"{name} is here, but JAX does not use it"
    cure = make_install_command(extra)
    if platforms and not {"cuda", "gpu"} & set(platforms.split(",")):
        text, cure = f"{name} is here, but JAX_PLATFORMS={platforms}", "unset JAX_PLATFORMS"
    elif any(importlib.util.find_spec(f"jax_{cuda}_plugin") for cuda in ("cuda12", "cuda13")):
        text, cure = f"{text}; to see why", "python -c 'import jax; jax.devices(\"cuda\")'"
    yield Finding("devices", State.PROBLEM, text, cure)


def find_nvidia_gpu() -> tuple[str, str] | None:
    """Return the first NVIDIA GPU and the extra with the CUDA for it; None if there is none."""
    fields = "--query-gpu=name,driver_version,compute_cap"
    rows = []
    if shutil.which("nvidia-smi"):
        command = ["nvidia-smi", fields, "--format=csv,noheader"]
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(
                command, capture_output=True, timeout=10, check=True, text=True, errors="replace"
            )
            rows = done.stdout.splitlines()
    if not rows:
        return ("an NVIDIA GPU", "cuda12") if os.path.exists("/dev/nvidia0") else None
    # CUDA 13 needs driver 580 and a Turing GPU (7.5) or newer; CUDA 12 takes older ones.
    parsed = re.fullmatch(r"(.+), (\d+)[\d.]*, (\d+\.\d+)", rows[0].strip())
    if parsed and int(parsed[2]) >= 580 and float(parsed[3]) >= 7.5:
        return parsed[1], "cuda13"
    return rows[0].split(",")[0], "cuda12"


def check_cpus() -> Iterator[Finding]:
    """Count the CPUs that this process may use."""
    total = os.cpu_count()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
    of = "" if usable == total else f" of {total}"
    text = f"{usable}{of} for this process"
    yield Finding("cpus", State.OK, text, values={"usable": usable, "all": total})


def check_memory() -> Iterator[Finding]:
    """Check the memory of the machine."""
    import psutil

    found = psutil.virtual_memory()
    text = f"{found.available / GIB:.1f} of {found.total / GIB:.1f} GiB free"
    values = {"available": found.available, "total": found.total}
    yield Finding("memory", State.OK, text, values=values)
