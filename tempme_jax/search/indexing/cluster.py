"""A Ray cluster: join one or start one on this machine, and divide it among actors."""

import contextlib
import importlib.util
import logging
import os
import signal
import socket
import threading
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

from tempme_jax.search.errors import VideoIndexError

# The address that starts Ray on this machine, for this run only.
LOCAL = "local"
# Seconds within which a cluster has to answer.
SECONDS_TO_ANSWER = 10.0
# Ray's names of devices, and the options by which an actor asks for one.
DEVICES = {"GPU": {"num_gpus": 1}, "TPU": {"resources": {"TPU": 1}}}


class ActorPool(NamedTuple):
    """The number of actors, the resources of each, and its number of decoding processes."""

    actors: int
    takes: dict[str, Any]
    decoders: int


def import_ray() -> Any:
    """Import Ray, set to write no messages and to send no usage statistics.

    Raises:
        VideoIndexError: Ray is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise VideoIndexError(
            "--ray needs Ray, which is not installed: pip install 'tempme-jax[ray]'. Without it, "
            "start several processes, each with --shard I/N"
        )
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray  # pyright: ignore[reportMissingImports]  # an extra of the package

    logging.getLogger("ray").setLevel(logging.ERROR)
    return ray


@contextlib.contextmanager
def join_cluster(ray, address: str, actors: int | None) -> Iterator[None]:
    """Join a cluster while the context is open; if the program has joined one, use that.

    The address "local" starts one on this machine, with room for `actors` or one per core.

    Raises:
        VideoIndexError: there is no cluster at the address.
    """
    if ray.is_initialized():
        yield
        return
    local = {"num_cpus": max(actors, os.cpu_count() or 1)} if address == LOCAL and actors else {}
    try:
        check_address(address)
        with warnings.catch_warnings(), keep_signal_handler():
            # Ray forks a process with threads, which warns; the child runs another program at once.
            warnings.simplefilter("ignore")
            ray.init(
                address, **local, include_dashboard=False, logging_level="ERROR",
                log_to_driver=False,
            )  # fmt: skip
    except (OSError, ValueError, RuntimeError, ImportError, ray.exceptions.RayError) as error:
        raise VideoIndexError(
            f"there is no Ray cluster at {address!r} ({summarize_error(error)}); start one with "
            "`ray start --head`, or use this machine with --ray local"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def check_address(address: str) -> None:
    """Raise an OSError if nothing listens at an address; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER).close()


@contextlib.contextmanager
def keep_signal_handler() -> Iterator[None]:
    """Restore the handler of SIGTERM afterwards, since Ray sets its own."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def summarize_error(error: BaseException) -> str:
    """Return the first line of an error."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def plan_pool(machines: list[dict[str, Any]], actors: int | None) -> ActorPool:
    """Decide how many actors run on a cluster, and what each takes of it.

    Args:
        machines: the result of `ray.nodes()`.
        actors: number of actors asked for; None for one per GPU or TPU chip, or, without any, one
            per machine.

    Raises:
        VideoIndexError: no machine has a processor, as if only the head of the cluster is there.
    """
    alive = [machine["Resources"] for machine in machines if machine["Alive"]]
    alive = [resources for resources in alive if resources.get("CPU")]
    for kind, takes in DEVICES.items():
        having = [resources for resources in alive if resources.get(kind)]
        if having:
            places = int(sum(resources[kind] for resources in having))
            return share_machines(having, min(actors or places, places), takes)
    if not alive:
        raise VideoIndexError("the Ray cluster has no machine with a processor that may be used")
    places = int(sum(resources["CPU"] for resources in alive))
    return share_machines(alive, min(actors or len(alive), places), {})


def share_machines(
    machines: list[dict[str, float]], actors: int, takes: dict[str, Any]
) -> ActorPool:
    """Make a pool in which each actor keeps one core to embed, and decodes on the others."""
    on_one = -(-actors // len(machines))
    cores = int(min(resources["CPU"] for resources in machines)) // on_one
    return ActorPool(actors, {"num_cpus": 1} | takes, max(1, cores - 1))
