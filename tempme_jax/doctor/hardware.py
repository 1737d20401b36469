"""Devices, CPUs and memory; what is looked at is imported late, for it may fail."""

import collections
import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator

from tempme_jax.doctor.finding import GIB, Finding, State
from tempme_jax.doctor.software import install


def devices() -> Iterator[Finding]:
    """What JAX computes on, and how to make it use a GPU that it leaves alone."""
    # Looking must not take the memory from a training on the same GPU.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax

    try:
        found = jax.devices()
    except (RuntimeError, AssertionError) as error:  # what is asked for is not here
        found, asked = [], jax.config.jax_platforms
        text = f"JAX finds no device: {error}".rstrip(": ")
        cure = "unset JAX_PLATFORMS" if asked else ""
        text += f" (JAX_PLATFORMS={asked})" if asked else ""
        yield Finding("devices", State.MISSING, text, cure)
    kinds = collections.defaultdict(list)
    for device in found:
        kinds[device.platform, device.device_kind].append(device)
    for (kind, name), group in kinds.items():
        limits = [memory_of(device) for device in group]
        text = f"JAX computes on {len(group)} {kind}" + (f": {name}" if name != kind else "")
        if limits[0] is not None:
            text += f", {limits[0] / GIB:.1f} GiB each that JAX may use"
        values = {"platform": kind, "kind": name, "count": len(group), "memory": limits}
        yield Finding("devices", State.OK, text, values=values)
    if all(device.platform == "cpu" for device in found):
        yield from idle_gpu(jax.config.jax_platforms)


def memory_of(device) -> int | None:
    """The bytes of a device that JAX may use; None if it does not say, as of a CPU."""
    try:
        return (device.memory_stats() or {}).get("bytes_limit")
    except RuntimeError:  # a platform that counts nothing
        return None


def idle_gpu(platforms: str | None) -> Iterator[Finding]:
    """How JAX, told to use only these platforms, comes to use a GPU of NVIDIA, if there is one."""
    card = nvidia()
    if card is None:
        return
    name, extra = card
    text = f"{name} is here, but JAX does not use it"
    cure = install(extra)
    if platforms and not {"cuda", "gpu"} & set(platforms.split(",")):
        text, cure = f"{name} is here, but JAX_PLATFORMS={platforms}", "unset JAX_PLATFORMS"
    elif any(importlib.util.find_spec(f"jax_{cuda}_plugin") for cuda in ("cuda12", "cuda13")):
        text, cure = f"{text}; why, says", "python -c 'import jax; jax.devices(\"cuda\")'"
    yield Finding("devices", State.PROBLEM, text, cure)


def nvidia() -> tuple[str, str] | None:
    """The first GPU of NVIDIA, and the extra with the CUDA for it; None if there is none."""
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
        return ("a GPU of NVIDIA", "cuda12") if os.path.exists("/dev/nvidia0") else None
    # CUDA 13 wants a driver from 580 on and a GPU from Turing (7.5) on; CUDA 12 takes older ones.
    parsed = re.fullmatch(r"(.+), (\d+)[\d.]*, (\d+\.\d+)", rows[0].strip())
    if parsed and int(parsed[2]) >= 580 and float(parsed[3]) >= 7.5:
        return parsed[1], "cuda13"
    return rows[0].split(",")[0], "cuda12"


def cpus() -> Iterator[Finding]:
    """How many CPUs this process may use."""
    total = os.cpu_count()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
    of = "" if usable == total else f" of {total}"
    text = f"{usable}{of} for this process"
    yield Finding("cpus", State.OK, text, values={"usable": usable, "all": total})


def memory() -> Iterator[Finding]:
    """The memory of the machine."""
    import psutil

    found = psutil.virtual_memory()
    text = f"{found.available / GIB:.1f} of {found.total / GIB:.1f} GiB free"
    values = {"available": found.available, "total": found.total}
    yield Finding("memory", State.OK, text, values=values)
