"""One model at many settings of its dial: speed, recall, and how far its vectors move.

All settings take turns on each batch of a data set's videos, so their ratios hold on a busy
machine, too.
"""

import dataclasses
import datetime
import functools
import json
import time
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from tempme_jax.adapters.base import Adapter
from tempme_jax.costs import count_output_tokens
from tempme_jax.datasets.prepared import Prepared
from tempme_jax.dial import change_reducer, list_settings
from tempme_jax.encoding import choose_video_batch, encode_pixels
from tempme_jax.fingerprint import compute_fingerprint, describe_model
from tempme_jax.inputs import convert_to_pixels
from tempme_jax.model import Model
from tempme_jax.networks.macs import count_macs, list_stages
from tempme_jax.networks.network import Network
from tempme_jax.parameters import cast_kernels, flatten, list_pretrained_paths
from tempme_jax.reducers.base import Reducer
from tempme_jax.search.speeds import DialCurve, DialPoint, name_device
from tempme_jax.training.batches import FrameReader, VideoRows, read_batches
from tempme_jax.training.config import Config
from tempme_jax.training.metrics import measure_retrieval
from tempme_jax.training.order import make_pairs
from tempme_jax.training.splits import open_split, prepare_data, require_same_resize
from tempme_jax.training.standalone import open_model, require_agreement
from tempme_jax.training.tasks import check_task, choose_task
from tempme_jax.version import __version__

# The built-in set, for whose videos tiny-tempme was trained.
SAMPLES = "configs/moving_shapes.py"
# The recall by which a setting is better than another.
BY = "R@1"
# The seconds of a call are those than which this share of the calls is faster.
FASTEST_SHARE = 0.1

Options = dict[str, Any]
# A network and its variables.
Runnable = tuple[Network, dict]


class EncodedVideos(NamedTuple):
    """What one network made of the videos of a split, in its turns.

    Attributes:
        vectors: the vectors of all videos, float32 [m, e].
        seconds: seconds of each call.
    """

    vectors: Float[np.ndarray, "m e"]
    seconds: list[float]


def measure_dials(
    sources: Collection[str],
    config: Config,
    given: Collection[str] = (),
    *,
    settings: Collection[Options] = (),
    batch: int | None = None,
    report: Callable[[str], None] = lambda message: None,
) -> list[DialCurve]:
    """Measure models at settings of their dials on the test split of a config.

    Models of as many frames take turns, too.

    Args:
        sources: the models, as for `tempme evaluate`.
        config: the data, prepared if need be, and the protocol. The best are not ranked again, nor
            scores re-weighted.
        given: names of settings of the model that the user gave, see `evaluate_model`.
        settings: options of the reducer for each point; default: a ladder from slow to fast.
        batch: videos in a call; default: as for embedding.
        report: called with a message before each part of the work.

    Raises:
        ValueError: if a method has no dial, a setting does not fit a model, or as of
            `evaluate_model`.
    """
    models, asked = {}, {}
    for source in sources:
        report(f"Opening {source}")
        model = models[source] = open_retrieval_model(source, config, given)
        asked[source] = list_asked(model, list(settings))
    prepare_data(config.data)
    prepared = open_split(config.data, config.data.test)
    curves: dict[str, DialCurve] = {}
    for frames in dict.fromkeys(model.num_frames for model in models.values()):
        group = [source for source, model in models.items() if model.num_frames == frames]
        runnables = [make_runnables(models[source], asked[source]) for source in group]
        size = batch or choose_video_batch()
        reader = FrameReader(prepared, frames, config.evaluate.frame_sampling)
        turns = iter(encode_in_turns(sum(runnables, []), VideoRows(reader, size), report))
        for source, own in zip(group, runnables, strict=True):
            encoded = [next(turns) for _ in own]
            networks = [network for network, _ in own]
            points = make_points(
                models[source], asked[source], networks, encoded, prepared, config, size
            )
            curves[source] = make_curve(source, models[source], points, prepared, config, size)
    return [curves[source] for source in sources]


def open_retrieval_model(source: str, config: Config, given: Collection[str]) -> Model:
    """Open a model as `tempme evaluate` does; a ValueError if it cannot be measured so."""
    model = open_model(source, config, given).model
    require_agreement(model, source, config.model, given)
    require_same_resize(config.data, model)
    check_task(model.network, config)
    if choose_task(model.network).answers:
        raise ValueError(f"{source} answers questions; the dial is measured by retrieval")
    return model


def list_asked(model: Model, settings: list[Options]) -> list[Options]:
    """Return the options of every point, those of the model itself first.

    Raises:
        ValueError: if the method has no dial, or a setting does not fit the model.
    """
    network, frames = model.network, model.num_frames
    own = network.reducer.scale(1.0)
    ladder = settings or list_settings(network, frames)
    if not ladder:
        own_options = ", ".join(field.name for field in dataclasses.fields(network.reducer))
        give = f"give some by --settings ({own_options}), or " if own_options else ""
        raise ValueError(
            f"method {model.method!r} has no built-in settings of its dial; {give}take a model of "
            "a method such as tempme or tome"
        )
    for options in ladder:  # before anything is measured
        change_reducer(network, frames, options)
    return [own, *(one for one in ladder if change_reducer(network, frames, one) != model.reducer)]


def make_runnables(model: Model, asked: list[Options]) -> list[Runnable]:
    """Return what runs each setting, and last the backbone that keeps every token.

    What was learned is folded in, where it can be.
    """
    folded = model.fold()
    params = {"params": cast_kernels(folded.params, model.network.dtype)}
    found: list[Runnable] = [(folded.dial(**options).network, params) for options in asked]
    backbone = list_pretrained_paths(model.arch)
    own = {path: array for path, array in flatten(params["params"]).items() if path in backbone}
    plain = model.network.copy(adapter=Adapter(), reducer=Reducer())
    return [*found, (plain, {"params": flax.traverse_util.unflatten_dict(own)})]


def encode_in_turns(
    runnables: list[Runnable], source: VideoRows, report: Callable[[str], None]
) -> list[EncodedVideos]:
    """Encode all videos of a split by each of some networks."""
    count, videos = len(runnables), len(source.reader.prepared)
    found = [
        EncodedVideos(np.zeros((videos, network.arch.embed_dim), np.float32), [])
        for network, _ in runnables
    ]
    with read_batches(source, source.batch_size) as reader:
        for turn, rows in enumerate(reader):
            real = rows["video"] >= 0
            frames, mask = jnp.asarray(rows["frames"]), jnp.asarray(rows["frame_mask"])
            for place in range(count):
                number = (place + turn) % count  # none is always the first
                call = functools.partial(encode_videos, *runnables[number], frames, mask)
                if not turn:
                    report(f"Compiling setting {place + 1} of {count}")
                    jax.block_until_ready(call())
                started = time.perf_counter()
                vectors = jax.block_until_ready(call())
                found[number].seconds.append(time.perf_counter() - started)
                found[number].vectors[rows["video"][real]] = np.asarray(vectors)[real]
            if not turn:
                report(f"Embedding {videos} videos in {count} ways, in turns")
    return found


@functools.partial(jax.jit, static_argnums=0)
def encode_videos(network: Network, params: dict, frames: jax.Array, mask: jax.Array) -> jax.Array:
    """Return the vectors [b, e] of uint8 frames of any size."""
    arch = network.arch
    pixels = convert_to_pixels(frames, arch.image_size, arch.mean, arch.std)
    return encode_pixels(network, params, pixels, mask)


def make_points(
    model: Model,
    asked: list[Options],
    networks: list[Network],
    encoded: list[EncodedVideos],
    prepared: Prepared,
    config: Config,
    size: int,
) -> list[DialPoint]:
    """Return what was measured of all settings.

    Args:
        model: the model as it was trained.
        asked: options of the settings, those of the model first.
        networks: that of each setting, and the one that keeps every token.
        encoded: what these made of the videos.
        prepared: the split.
        config: the settings; the protocol is that of its evaluation.
        size: videos in a call.
    """
    queries = make_pairs(prepared.captions, prepared.groups)
    texts = model.embed_text(list(queries.texts))
    own, plain = compute_seconds(encoded[0]), compute_seconds(encoded[-1])
    macs = [count_macs(network, model.num_frames)[0] for network in networks]
    points = []
    for number, options in enumerate(asked):
        vectors, seconds = encoded[number].vectors, compute_seconds(encoded[number])
        measured = measure_retrieval(
            texts @ vectors.T, queries.video,
            ties=config.evaluate.ties, rivals=config.evaluate.rivals,
        )  # fmt: skip
        to_video, to_text = (
            {name: value for name, value in measured[way].items() if isinstance(value, float)}
            for way in ("text_to_video", "video_to_text")
        )
        cosine = compute_cosines(vectors, encoded[0].vectors)
        stages = list_stages(networks[number], model.num_frames)
        points.append(
            DialPoint(
                options=json.loads(json.dumps(options)), is_trained=number == 0,
                tokens=count_output_tokens(networks[number], stages), gmacs=macs[number] / 1e9,
                videos_per_second=size / seconds,
                speed=own / seconds, counted=macs[0] / macs[number],
                over_plain=plain / seconds, text_to_video=to_video, video_to_text=to_text,
                cosine_mean=float(cosine.mean()), cosine_least=float(cosine.min()),
            )
        )  # fmt: skip
    return mark_front(points)


def make_curve(
    source: str,
    model: Model,
    points: list[DialPoint],
    prepared: Prepared,
    config: Config,
    batch: int,
) -> DialCurve:
    """Return the points with what they are of."""
    return DialCurve(
        model=source, method=model.method, fingerprint=compute_fingerprint(describe_model(model)),
        device=name_device(model), date=datetime.date.today().isoformat(), version=__version__,
        dataset=config.data.name, split=config.data.test, videos=len(prepared),
        texts=sum(map(len, prepared.captions)), id_hash=prepared.id_hash, batch=batch,
        rounds=-(-len(prepared) // batch), points=points,
    )  # fmt: skip


def compute_seconds(encoded: EncodedVideos) -> float:
    """Return the seconds of a call: the fastest tenth, which other programs slow down least."""
    return float(np.quantile(encoded.seconds, FASTEST_SHARE))


def compute_cosines(
    first: Float[np.ndarray, "m e"], second: Float[np.ndarray, "m e"]
) -> Float[np.ndarray, " m"]:
    """Return the cosine of each pair of rows; 1 for two rows of zeros."""
    first, second = first.astype(np.float64), second.astype(np.float64)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    same = (first == second).all(axis=1)
    cosine = (first * second).sum(axis=1) / np.where(lengths > 0, lengths, 1)
    return np.where(same, 1.0, np.clip(cosine, -1, 1))


def mark_front(points: list[DialPoint]) -> list[DialPoint]:
    """Mark the points than which none is faster and as good, or as fast and better; slow first."""

    def is_beaten(point: DialPoint) -> bool:
        own = point.speed, point.text_to_video[BY]
        others = [(one.speed, one.text_to_video[BY]) for one in points]
        return any(o[0] >= own[0] and o[1] >= own[1] and o != own for o in others)

    marked = [dataclasses.replace(point, on_front=not is_beaten(point)) for point in points]
    return sorted(marked, key=lambda point: point.counted)
