"""A Ray cluster: joined, or begun on this machine, shared out among actors, and left again."""

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

# Of an address: start Ray on this machine, for this run only.
LOCAL = "local"
# How long a cluster may take to answer.
SECONDS_TO_ANSWER = 10.0
# How Ray names devices, and how an actor asks for one.
DEVICES = {"GPU": {"num_gpus": 1}, "TPU": {"resources": {"TPU": 1}}}


class Pool(NamedTuple):
    """How many actors, what each takes of the cluster, and how many processes decode for it."""

    actors: int
    takes: dict[str, Any]
    decoders: int


def imported():
    """Ray, if it is installed, told to leave the terminal and the net alone.

    Raises:
        VideoIndexError: if it is not.
    """
    if importlib.util.find_spec("ray") is None:
        raise VideoIndexError(
            "--ray needs Ray, which is not installed: pip install 'tempme-jax[ray]'. Without it, "
            "start several processes, each with --shard I/N"
        )
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    return ray


@contextlib.contextmanager
def joined(ray, address: str, actors: int | None) -> Iterator[None]:
    """A cluster, for as long as the context is open; one that the program has joined is kept.

    Args:
        ray: the module.
        address: of the cluster, or "local": one on this machine.
        actors: for how many there has to be room in one on this machine; None: one for each core.

    Raises:
        VideoIndexError: if there is no cluster at the address.
    """
    if ray.is_initialized():
        yield
        return
    local = {"num_cpus": max(actors, os.cpu_count() or 1)} if address == LOCAL and actors else {}
    try:
        knock(address)
        with warnings.catch_warnings(), same_signals():
            # Of forks in a process with threads: what Ray forks runs another program at once.
            warnings.simplefilter("ignore")
            ray.init(
                address, **local, include_dashboard=False, logging_level="ERROR",
                log_to_driver=False,
            )  # fmt: skip
    except (OSError, ValueError, RuntimeError, ImportError, ray.exceptions.RayError) as error:
        raise VideoIndexError(
            f"there is no Ray cluster at {address!r} ({said(error)}); `ray start --head` begins "
            "one, and --ray local uses this machine"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def knock(address: str) -> None:
    """Raises an OSError if nobody is at an address; Ray itself tries for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER).close()


@contextlib.contextmanager
def same_signals() -> Iterator[None]:
    """What ends a run politely still does afterwards: Ray sets a handler of its own."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def said(error: BaseException) -> str:
    """What an error says, in a line."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def pool_of(machines: list[dict[str, Any]], actors: int | None) -> Pool:
    """How a cluster is shared out.

    Args:
        machines: `ray.nodes()`.
        actors: how many are wished for; None: one for each device, or else each machine.

    Raises:
        VideoIndexError: if no machine has a processor, as if only the head of a cluster is there.
    """
    alive = [machine["Resources"] for machine in machines if machine["Alive"]]
    alive = [resources for resources in alive if resources.get("CPU")]
    for kind, takes in DEVICES.items():
        having = [resources for resources in alive if resources.get(kind)]
        if having:
            places = int(sum(resources[kind] for resources in having))
            return shared(having, min(actors or places, places), takes)
    if not alive:
        raise VideoIndexError("the Ray cluster has no machine with a processor that may be used")
    places = int(sum(resources["CPU"] for resources in alive))
    return shared(alive, min(actors or len(alive), places), {})


def shared(machines: list[dict[str, float]], actors: int, takes: dict[str, Any]) -> Pool:
    """A pool in which one core of each actor is left to what embeds, and the others decode."""
    on_one = -(-actors // len(machines))
    cores = int(min(resources["CPU"] for resources in machines)) // on_one
    return Pool(actors, {"num_cpus": 1} | takes, max(1, cores - 1))
