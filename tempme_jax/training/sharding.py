"""Devices: how arrays lie on one, on many, and on those of many processes.

There is one way to compute: `jit` of the whole, with inputs that know where they lie. A batch is
split over the axis "data" of the mesh, large frozen kernels over "model"; XLA puts in what has to
be communicated. The similarity matrix is of the whole batch, so that every pair sees all others.
"""

import math

import flax.traverse_util
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

# Smaller arrays are not worth the communication.
LEAST_SPLIT = 2**16


def join_processes(
    coordinator: str | None = None, processes: int | None = None, process: int | None = None
) -> None:
    """Makes this process one of many; before anything else of JAX.

    Args:
        coordinator: host:port of the first of them. None: as the cluster says (TPU, SLURM, ...).
        processes: how many there are.
        process: which one this is, from 0.

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


def make_mesh(data: int = -1, model: int = 1) -> Mesh:
    """A mesh "data" x "model" of all devices, those of a process side by side.

    Args:
        data, model: devices along each; one of them may be -1, for all that are left.

    Raises:
        ValueError: if the devices are not as many.
    """
    devices = jax.devices()
    given = [data, model]
    if given.count(-1) == 1:
        given[given.index(-1)] = len(devices) // max(*given, 1)
    if min(given) < 1 or math.prod(given) != len(devices):
        raise ValueError(
            f"a mesh of data={data} x model={model} does not use the {len(devices)} devices; "
            f"set mesh.data and mesh.model to numbers whose product is {len(devices)}, one of "
            "them may be -1"
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
    # Not jax.make_mesh: its axes are explicit, and products of two split arrays then errors.
    return Mesh(np.array(devices).reshape(given), ("data", "model"))


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split_rows(mesh: Mesh) -> NamedSharding:
    """The first axis over "data"."""
    return NamedSharding(mesh, PartitionSpec("data"))


def check_divides(name: str, batch: int, mesh: Mesh) -> None:
    """Raises a ValueError if a batch cannot be split over the mesh."""
    rows = mesh.shape["data"]
    if batch % rows:
        near = max(rows, batch // rows * rows)
        raise ValueError(
            f"{name}={batch} cannot be split over {rows} devices; choose a multiple of {rows}, "
            f"such as {near}, or fewer devices by mesh.data"
        )


def place_batch(mesh: Mesh, rows: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """The rows that this process has read, as its part of the whole batch on the devices."""
    sharding = split_rows(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, array)
        for name, array in rows.items()
    }


def place_params(mesh: Mesh, params: dict, *, split: bool) -> dict:
    """A tree of parameters on the devices.

    Args:
        mesh: of the devices.
        params: the tree, the same in every process.
        split: whether large kernels are split over "model"; else all devices have all.
    """
    flat = flax.traverse_util.flatten_dict(params)
    placed = {}
    for path, array in flat.items():
        fits = split and path[-1] == "kernel" and array.size >= LEAST_SPLIT
        fits = fits and array.shape[0] % mesh.shape["model"] == 0
        spec = PartitionSpec("model") if fits else PartitionSpec()
        placed[path] = place(NamedSharding(mesh, spec), array)
    return flax.traverse_util.unflatten_dict(placed)


def place(sharding: NamedSharding, array: jax.Array | np.ndarray) -> jax.Array:
    """One array that all processes have, laid out."""
    host = np.asarray(array)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])
