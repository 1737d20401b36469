"""Embedding on many machines with Ray Data: one actor for each accelerator, or each machine.

Every finished video comes back to the process that began the run, which stores it as it stores
its own: what is stored is not done again, so that the index itself is the checkpoint.
"""

import collections
import contextlib
import dataclasses
import os
import socket
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np

from tempme_jax.compile_cache import use_persistent_cache
from tempme_jax.model import Model
from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.indexing.cluster import Pool, imported, joined, pool_of, said
from tempme_jax.search.indexing.embedding import Embedder, Finished, embedder_of
from tempme_jax.search.indexing.plan import Work
from tempme_jax.search.indexing.reading import Failed, Source, read_windows
from tempme_jax.search.indexing.windows import Sampling

# An actor takes a share of the work so small that none waits long for the last one, and no more
# than it can well begin again if it is killed; but starting to decode takes a second or two.
SHARES, MOST_SECONDS, LEAST_SECONDS = 4, 4 * 3600.0, 60.0
# What is supposed of a video that does not say how long it is.
SUPPOSED_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class Given:
    """What all actors are given: the model, how to cut and read videos, and which there are.

    Attributes:
        model: its parameters in main memory.
        sampling: how videos are cut into windows.
        decoders: how many processes of an actor decode.
        parts: the videos, as they are taken.
        folder: that all of them are below.
    """

    model: Model
    sampling: Sampling
    decoders: int
    parts: list[list[Source]]
    folder: str


def embed(
    work: Work, model: Model, sampling: Sampling, *, address: str, actors: int | None
) -> Iterator[Finished | Failed]:
    """Embeds what is to be read, on a cluster.

    Args:
        work: whose sources lie under the same paths on all machines.
        model: sent to every actor.
        sampling: how videos are cut into windows.
        address: of the cluster, or "local". If the program has joined a cluster, that is used.
        actors: how many at most; None: one for every GPU or TPU chip of the cluster, or, if it
            has none, one for every machine.

    Yields:
        Finished and Failed videos, in any order, each as soon as it is done.

    Raises:
        VideoIndexError: if Ray is not installed, there is no cluster at the address, or actors
            fail, not because they are killed, but always.
    """
    ray = imported()
    with joined(ray, address, actors):
        pool = pool_of(ray.nodes(), actors)
        parts = parts_of(work, pool.actors)
        on_host = dataclasses.replace(model, params=jax.device_get(model.params))
        folder = os.path.commonpath([os.path.dirname(source.file) for source in work.sources])
        given = ray.put(Given(on_host, sampling, pool.decoders, parts, folder))
        relay = relay_of(ray, given, len(parts), pool)
        try:
            while (row := ray.get(relay.next.remote())) is not None:
                yield from_row(row)
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None) or error
            raise VideoIndexError(
                f"Ray gave up ({said(cause)}). What was stored is intact; the same command goes on"
            ) from error


class Relay:
    """Runs the actors, and passes on what they have done.

    It is an actor itself, since Ray Data does not run in a program that joins from without
    (ray://). It also keeps the terminal free of what Ray has to say.
    """

    def __init__(self, given: tuple[Any], parts: int, pool: Pool):
        """Begins with them.

        Args:
            given: a reference to a `Given`, in a tuple, as Ray follows it otherwise.
            parts: how many it has.
            pool: of actors.
        """
        import ray.data

        numbers = ray.data.from_items(list(range(parts)), override_num_blocks=parts)
        numbers.context.target_max_block_size = 1  # every row at once, not when a part is done
        done = numbers.flat_map(
            Actor,
            fn_constructor_args=given,
            compute=ray.data.ActorPoolStrategy(size=pool.actors, max_tasks_in_flight_per_actor=1),
            **pool.takes,
        )
        tables = done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
        self.rows = (row for table in tables for row in table.to_pylist())

    def next(self) -> dict[str, Any] | None:
        """A row of a video; None if there is no more."""
        return next(self.rows, None)


def relay_of(ray, given: Any, parts: int, pool: Pool):
    """A `Relay` on the machine that this program runs on, or has joined."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    made = ray.remote(num_cpus=0, scheduling_strategy=here)(Relay)
    return made.remote((given,), parts, pool)


class Actor:
    """Reads and embeds videos, in a process that has a device to itself."""

    def __init__(self, given: Any):
        """Takes a reference to a `Given`."""
        import ray

        # The program that began the run may hold memory of the same device.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        use_persistent_cache()
        self.given: Given = ray.get(given)
        self.embedder = embedder_of(self.given.model)

    def __call__(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """A row for each video of a part.

        In the order of the part: if the actor is killed, Ray begins the part again, and passes over
        as many rows as it has.

        Raises:
            FileNotFoundError: if the folder of the videos is not on this machine.
        """
        part, size = self.given.parts[row["item"]], self.given.model.arch.image_size
        check_folder(self.given.folder)
        options = {"image_size": size, "workers": self.given.decoders}
        # With nothing left in it of a part that was broken off.
        embedder = Embedder(self.embedder.encode, self.embedder.batch)
        with contextlib.closing(read_windows(part, self.given.sampling, **options)) as items:
            for done in in_order(embedder(items), [source.key for source in part]):
                yield to_row(done)


def check_folder(folder: str) -> None:
    """Raises a FileNotFoundError where no video can be found, as all would be said to be bad."""
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            f"{folder} is not on {socket.gethostname()}; it has to be there under the same path on "
            "all machines of the cluster"
        )


def in_order(
    videos: Iterable[Finished | Failed], keys: Iterable[str]
) -> Iterator[Finished | Failed]:
    """Videos in the order of their keys."""
    keys, early = collections.deque(keys), {}
    for video in videos:
        early[video.key] = video
        while keys and keys[0] in early:
            yield early.pop(keys.popleft())


def to_row(done: Finished | Failed) -> dict[str, Any]:
    """A video as Ray carries it: of types that Arrow knows."""
    if isinstance(done, Failed):
        done, stage, reason = Finished(done.key, 0.0, [], np.zeros((0, 0)), []), *done[1:]
    else:
        stage = reason = ""
    return {
        "key": done.key, "stage": stage, "reason": reason, "seconds": done.seconds,
        "spans": np.array(done.spans, np.float64).tobytes(),
        "vectors": np.asarray(done.vectors, np.float32).tobytes(), "thumbnails": done.thumbnails,
    }  # fmt: skip


def from_row(row: dict[str, Any]) -> Finished | Failed:
    """What `to_row` was given."""
    if row["reason"]:
        return Failed(row["key"], row["stage"], row["reason"])
    spans = np.frombuffer(row["spans"], np.float64).reshape(-1, 2)
    vectors = np.frombuffer(row["vectors"], np.float32).reshape(len(spans), -1)
    pairs = [(float(start), float(end)) for start, end in spans]
    return Finished(row["key"], row["seconds"], pairs, vectors, list(row["thumbnails"]))


def parts_of(work: Work, actors: int) -> list[list[Source]]:
    """The videos, in the parts that actors take."""
    lengths = [work.seconds[source.key] or SUPPOSED_SECONDS for source in work.sources]
    share = sum(lengths) / (actors * SHARES)
    most = min(max(share, LEAST_SECONDS), MOST_SECONDS)
    parts, taken = [], float("inf")
    for source, length in zip(work.sources, lengths, strict=True):
        if taken + length > most:
            parts.append([])
            taken = 0.0
        parts[-1].append(source)
        taken += length
    return parts
