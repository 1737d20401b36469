"""Placement of arrays on one device, on many, and on those of many processes.

Everything is computed in one way: `jit` of the whole, with sharded inputs. A batch is split over
the axis "data" of the mesh, large frozen kernels over "model"; XLA inserts the communication. The
similarity matrix covers the whole batch, so every pair is contrasted with all others.
"""

import math

import flax.traverse_util
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from tempme_jax.parameters import flatten

# Splitting smaller arrays (in numbers) is not worth the communication.
LEAST_SPLIT = 2**16


def join_processes(
    coordinator: str | None = None, processes: int | None = None, process: int | None = None
) -> None:
    """Make this process one of many; call it before anything else of JAX.

    Args:
        coordinator: host:port of the first process. None: JAX asks the cluster (TPU, SLURM, ...).
        processes: number of processes.
        process: number of this process, from 0.

    Raises:
        ValueError: if only some of the three are given.
    """
    given = [coordinator, processes, process]
    if any(g is not None for g in given) and None in given:
        raise ValueError(
            f"--coordinator={coordinator} --processes={processes} --process={process}: give all "
            "three, or none on a cluster that JAX recognises"
        )
    jax.distributed.initialize(*given)


def make_mesh(data: int, model: int) -> Mesh:
    """Make a mesh "data" x "model" of all devices, those of a process side by side.

    Args:
        data, model: devices along each axis; one of them may be -1: all devices that are left.

    Raises:
        ValueError: if their product is not the number of devices, or they do not fit the processes.
    """
    devices = jax.devices()
    given = [data, model]
    if given.count(-1) == 1:
        given[given.index(-1)] = len(devices) // max(*given, 1)
    if min(given) < 1 or math.prod(given) != len(devices):
        raise ValueError(
            f"a mesh of data={data} x model={model} does not use the {len(devices)} devices; set "
            f"mesh.data and mesh.model to a product of {len(devices)}, or one of them to -1"
        )
    if given[0] % jax.process_count():
        raise ValueError(
            f"mesh.data={given[0]} cannot be shared by {jax.process_count()} processes; set "
            f"mesh.model to at most the {jax.local_device_count()} devices of a process"
        )
    if jax.local_device_count() % given[1]:
        raise ValueError(
            f"mesh.model={given[1]} must divide the {jax.local_device_count()} devices of a "
            "process: kernels are not split over processes"
        )
    # Not jax.make_mesh: its axes are explicit, with which products of two split arrays are errors.
    return Mesh(np.array(devices).reshape(given), ("data", "model"))


def replicate(mesh: Mesh) -> NamedSharding:
    """Return the sharding that puts the whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split_rows(mesh: Mesh) -> NamedSharding:
    """Return the sharding that splits the first axis over "data"."""
    return NamedSharding(mesh, PartitionSpec("data"))


def round_up(size: int, multiple: int) -> int:
    """Return the smallest multiple that is not below `size`."""
    return -(-size // multiple) * multiple


def check_divides(name: str, batch: int, mesh: Mesh) -> None:
    """Raise a ValueError if a batch cannot be split over the mesh."""
    rows = mesh.shape["data"]
    if batch % rows:
        near = max(rows, batch // rows * rows)
        raise ValueError(
            f"{name}={batch} cannot be split over {rows} devices; choose a multiple of {rows}, "
            f"such as {near}, or fewer devices by mesh.data"
        )


def place_batch(mesh: Mesh, rows: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """Put the rows that this process has read on the devices, as its part of the whole batch."""
    sharding = split_rows(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, array)
        for name, array in rows.items()
    }


def place_params(mesh: Mesh, params: dict, *, split: bool) -> dict:
    """Put a tree of parameters on the devices.

    Args:
        mesh: the mesh of all devices.
        params: the tree, the same in every process.
        split: whether to split large kernels over "model"; else every device holds everything.
    """
    placed = {}
    for path, array in flatten(params).items():
        fits = split and path[-1] == "kernel" and array.size >= LEAST_SPLIT
        fits = fits and array.shape[0] % mesh.shape["model"] == 0
        spec = PartitionSpec("model") if fits else PartitionSpec()
        placed[path] = place(NamedSharding(mesh, spec), array)
    return flax.traverse_util.unflatten_dict(placed)


def place(sharding: jax.sharding.Sharding, array: ArrayLike) -> jax.Array:
    """Put one array that all processes hold on the devices."""
    host = np.asarray(array)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])
