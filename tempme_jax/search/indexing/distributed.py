"""Embedding on many machines with Ray Data: one actor per accelerator, or per machine.

Every embedded video is sent back to the process that began the run, which stores it. Stored videos
are not embedded again, so the index itself is the checkpoint.
"""

import collections
import contextlib
import dataclasses
import os
import socket
from collections.abc import Generator, Iterable, Iterator
from typing import Any

import jax
import numpy as np

from tempme_jax.compile_cache import use_persistent_cache
from tempme_jax.model import Model
from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.indexing.cluster import (
    ActorPool,
    import_ray,
    join_cluster,
    plan_pool,
    summarize_error,
)
from tempme_jax.search.indexing.embedding import (
    Advance,
    EmbeddedVideo,
    Embedder,
    make_embedder,
)
from tempme_jax.search.indexing.plan import Work
from tempme_jax.search.indexing.reading import FailedVideo, Source, read_windows
from tempme_jax.video.windows import Sampling

# Work is split into SHARES parts per actor, so none waits long for the last one. A part holds at
# most MOST_SECONDS of video, since a killed actor begins its part again, and at least
# LEAST_SECONDS, since starting to decode takes a second or two.
SHARES, MOST_SECONDS, LEAST_SECONDS = 4, 4 * 3600.0, 60.0
# Length that is assumed for a video whose file states none.
SUPPOSED_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class ActorInputs:
    """The inputs that all actors share."""

    model: Model  # with its parameters in main memory
    sampling: Sampling
    decoders: int  # number of decoding processes per actor
    parts: list[list[Source]]  # the videos, in the parts that actors take
    folder: str  # the folder that all videos are below
    per_frame: bool = False  # whether vectors hold those of the frames


def embed_on_cluster(
    work: Work,
    model: Model,
    sampling: Sampling,
    *,
    address: str,
    actors: int | None,
    per_frame: bool = False,
) -> Generator[EmbeddedVideo | FailedVideo, None, None]:
    """Embed the videos of `work` on a cluster.

    Args:
        work: the videos; they lie under the same paths on all machines.
        model: the model, which is sent to every actor.
        sampling: the way in which videos are cut into windows.
        address: address of the cluster, or "local". If the program has joined a cluster, that one
            is used.
        actors: number of actors at most; None for one per GPU or TPU chip of the cluster, or,
            without any, one per machine.
        per_frame: whether vectors hold those of the frames, see `make_embedder`.

    Yields:
        Embedded and failed videos in any order, each as soon as it is done.

    Raises:
        VideoIndexError: Ray is not installed, there is no cluster at the address, or actors keep
            failing (that they are killed is no failure).
    """
    ray = import_ray()
    if model.is_exported:
        raise VideoIndexError(
            "on a cluster the model runs in JAX; give --runtime jax, or index without --ray"
        )
    with join_cluster(ray, address, actors):
        pool = plan_pool(ray.nodes(), actors)
        parts = split_work(work, pool.actors)
        on_host = dataclasses.replace(model, params=jax.device_get(model.params))
        folder = os.path.commonpath([os.path.dirname(source.file) for source in work.sources])
        given = ray.put(ActorInputs(on_host, sampling, pool.decoders, parts, folder, per_frame))
        relay = start_relay(ray, given, len(parts), pool)
        try:
            while (row := ray.get(relay.take_row.remote())) is not None:
                yield unpack_row(row)
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None) or error
            raise VideoIndexError(
                f"Ray gave up ({summarize_error(cause)}). What was stored is intact; run the same "
                "command to resume"
            ) from error


class Relay:
    """Runs the actors and passes their results on.

    It is an actor itself, since Ray Data does not run in a client program (ray://). This also keeps
    Ray's messages off the terminal.
    """

    def __init__(self, given: tuple[Any], parts: int, pool: ActorPool):
        """Start the actors of a pool on a number of parts of the work.

        `given` is a reference to `ActorInputs`, in a tuple, since Ray would resolve it otherwise.
        """
        import ray.data  # pyright: ignore[reportMissingImports]  # an extra of the package

        numbers = ray.data.from_items(list(range(parts)), override_num_blocks=parts)
        numbers.context.target_max_block_size = 1  # send every row at once, not when a part is done
        done = numbers.flat_map(
            Actor,
            fn_constructor_args=given,
            compute=ray.data.ActorPoolStrategy(size=pool.actors, max_tasks_in_flight_per_actor=1),
            **pool.takes,
        )
        tables = done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
        self.rows = (row for table in tables for row in table.to_pylist())

    def take_row(self) -> dict[str, Any] | None:
        """Return the row of the next video; None after the last one."""
        return next(self.rows, None)


def start_relay(ray, given: Any, parts: int, pool: ActorPool):
    """Start a `Relay` on the machine that this program runs on or is connected to."""
    from ray.util.scheduling_strategies import (  # pyright: ignore[reportMissingImports]  # as above
        NodeAffinitySchedulingStrategy,
    )

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    made = ray.remote(num_cpus=0, scheduling_strategy=here)(Relay)
    return made.remote((given,), parts, pool)


class Actor:
    """Reads and embeds videos, in a process that has a device to itself."""

    def __init__(self, given: Any):
        """Fetch the inputs; `given` is a reference to `ActorInputs`."""
        import ray  # pyright: ignore[reportMissingImports]  # as above

        # The program that began the run may hold memory of the same device.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        use_persistent_cache()
        self.given: ActorInputs = ray.get(given)
        self.embedder = make_embedder(self.given.model, per_frame=self.given.per_frame)

    def __call__(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield one row per video of a part, in the order of the part.

        The order matters: if the actor is killed, Ray begins the part again, and skips as many rows
        as it has.

        Raises:
            FileNotFoundError: the folder of the videos is not on this machine.
        """
        part, arch = self.given.parts[row["item"]], self.given.model.arch
        check_folder(self.given.folder)
        options = {"image_size": arch.image_size, "resize": arch.resize}
        options["workers"] = self.given.decoders
        # A new embedder, since the last part may have been interrupted.
        embedder = Embedder(self.embedder.encode, self.embedder.batch)
        with contextlib.closing(read_windows(part, self.given.sampling, **options)) as items:
            videos = (done for done in embedder(items) if not isinstance(done, Advance))
            for done in sort_videos(videos, [source.key for source in part]):
                yield pack_row(done)


def check_folder(folder: str) -> None:
    """Raise a FileNotFoundError if the folder is missing; all videos would be reported as bad."""
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            f"{folder} is not on {socket.gethostname()}; it has to be there under the same path on "
            "all machines of the cluster"
        )


def sort_videos(
    videos: Iterable[EmbeddedVideo | FailedVideo], keys: Iterable[str]
) -> Iterator[EmbeddedVideo | FailedVideo]:
    """Yield videos in the order of `keys`, each as soon as all before it are done."""
    keys, early = collections.deque(keys), {}
    for video in videos:
        early[video.key] = video
        while keys and keys[0] in early:
            yield early.pop(keys.popleft())


def pack_row(done: EmbeddedVideo | FailedVideo) -> dict[str, Any]:
    """Convert a video to types that Arrow knows, so Ray can send it."""
    if isinstance(done, FailedVideo):
        done, stage, reason = EmbeddedVideo(done.key, 0.0, [], np.zeros((0, 0)), []), *done[1:]
    else:
        stage = reason = ""
    return {
        "key": done.key, "stage": stage, "reason": reason, "seconds": done.seconds,
        "spans": np.array(done.spans, np.float64).tobytes(),
        "vectors": np.asarray(done.vectors, np.float32).tobytes(), "thumbnails": done.thumbnails,
        "whole": done.whole,
    }  # fmt: skip


def unpack_row(row: dict[str, Any]) -> EmbeddedVideo | FailedVideo:
    """Convert a row of `pack_row` back to a video."""
    if row["reason"]:
        return FailedVideo(row["key"], row["stage"], row["reason"])
    spans = np.frombuffer(row["spans"], np.float64).reshape(-1, 2)
    vectors = np.frombuffer(row["vectors"], np.float32).reshape(len(spans), -1)
    pairs = [(float(start), float(end)) for start, end in spans]
    thumbnails = list(row["thumbnails"])
    return EmbeddedVideo(row["key"], row["seconds"], pairs, vectors, thumbnails, row["whole"])


def split_work(work: Work, actors: int) -> list[list[Source]]:
    """Split the videos into the parts that actors take."""
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
