"""One model at many settings of its dial: speed, recall, and how far its vectors move.

All settings take turns on each batch of a data set's videos, so their ratios hold on a busy
machine, too.
"""

import dataclasses
import datetime
import functools
import json
import statistics
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

Options = dict[str, Any]
# A network and its variables.
Runnable = tuple[Network, dict]


class Turns(NamedTuple):
    """What networks that took turns made of the videos of a split, in their order.

    Attributes:
        batch: videos in a call.
        vectors: the vectors of all videos, float32 [m, e].
        seconds: seconds of each call.
    """

    batch: int
    vectors: list[Float[np.ndarray, "m e"]]
    seconds: list[list[float]]


def parse_setting(text: str) -> Options:
    """Return the options of a setting, such as "r=4 keep_cross=0.5" or "r=8-4-2".

    Raises:
        ValueError: if they cannot be read.

    >>> parse_setting("r=8-4-2 keep_cross=0.5"), parse_setting("gate=false")
    ({'r': (8, 4, 2), 'keep_cross': 0.5}, {'gate': False})
    """
    options: Options = {}
    for word in text.replace(",", " ").split():
        name, equals, value = word.partition("=")
        if not (name and equals and value):
            raise ValueError(
                f"the setting {text!r} must name options and their values, such as "
                "'r=4 keep_cross=0.5'"
            )
        try:
            parts = [json.loads(part) for part in value.split("-")]
        except ValueError:
            parts = [value]
        options[name] = tuple(parts) if len(parts) > 1 else parts[0]
    return options


def measure_dial(
    source: str,
    config: Config,
    given: Collection[str] = (),
    *,
    settings: Collection[Options] = (),
    batch: int | None = None,
    report: Callable[[str], None] = lambda message: None,
) -> DialCurve:
    """Measure a model at settings of its dial on the test split of a config, prepared if need be.

    Args:
        source: the model, as for `tempme evaluate`.
        config: the data and the protocol. The best are not ranked again, nor scores re-weighted.
        given: names of settings of the model that the user gave, see `evaluate_model`.
        settings: options of the reducer for each point; default: a ladder from slow to fast.
        batch: videos in a call; default: as for embedding.
        report: called with a message before each part of the work.

    Raises:
        ValueError: if the method has no dial, a setting does not fit the model, or as of
            `evaluate_model`.
    """
    report(f"Opening {source}")
    model = open_model(source, config, given).model
    require_agreement(model, source, config.model, given)
    require_same_resize(config.data, model)
    check_task(model.network, config)
    if choose_task(model.network).answers:
        raise ValueError(f"{source} answers questions; the dial is measured by retrieval")
    asked = list_asked(model, list(settings))
    prepare_data(config.data)
    prepared = open_split(config.data, config.data.test)
    batch = batch or choose_video_batch(model.device.platform if model.device else None)
    runnables = make_runnables(model, asked)
    reader = FrameReader(prepared, model.num_frames, config.evaluate.frame_sampling)
    turns = encode_in_turns(runnables, VideoRows(reader, batch), report)
    report("Ranking")
    queries = make_pairs(prepared.captions, prepared.groups)
    texts = model.embed_text(list(queries.texts))
    points = []
    for number, options in enumerate(asked):
        measured = measure_retrieval(
            texts @ turns.vectors[number].T, queries.video,
            ties=config.evaluate.ties, rivals=config.evaluate.rivals,
        )  # fmt: skip
        networks = runnables[number][0], model.network
        point = make_point(networks, model.num_frames, turns, number, measured)
        points.append(dataclasses.replace(point, options=json.loads(json.dumps(options))))
    device, fingerprint = name_device(model), compute_fingerprint(describe_model(model))
    return DialCurve(
        model=source, method=model.method, fingerprint=fingerprint, device=device,
        date=datetime.date.today().isoformat(), version=__version__, dataset=config.data.name,
        split=config.data.test, videos=len(prepared), texts=len(queries.texts),
        id_hash=prepared.id_hash, batch=batch, rounds=len(turns.seconds[0]),
        plain_videos_per_second=batch / statistics.median(turns.seconds[-1]),
        points=mark_front(points),
    )  # fmt: skip


def list_asked(model: Model, settings: list[Options]) -> list[Options]:
    """Return the options of every point, those of the model itself first.

    Raises:
        ValueError: if the method has no dial, or a setting does not fit the model.
    """
    network, frames = model.network, model.num_frames
    own = network.reducer.scale(1.0)
    ladder = settings or list_settings(network, frames)
    if not ladder:
        raise ValueError(
            f"method {model.method!r} has no built-in settings; give some by --settings, or take a "
            "model of a method such as tempme or tome"
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
) -> Turns:
    """Encode all videos of a split by each of some networks."""
    count, videos = len(runnables), len(source.reader.prepared)
    turns = Turns(
        source.batch_size,
        [np.zeros((videos, runnables[0][0].arch.embed_dim), np.float32) for _ in runnables],
        [[] for _ in runnables],
    )
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
                found = jax.block_until_ready(call())
                turns.seconds[number].append(time.perf_counter() - started)
                turns.vectors[number][rows["video"][real]] = np.asarray(found)[real]
            if not turn:
                report(f"Embedding {videos} videos in {count} ways, in turns")
    return turns


@functools.partial(jax.jit, static_argnums=0)
def encode_videos(network: Network, params: dict, frames: jax.Array, mask: jax.Array) -> jax.Array:
    """Return the vectors [b, e] of uint8 frames of any size."""
    arch = network.arch
    pixels = convert_to_pixels(frames, arch.image_size, arch.mean, arch.std)
    return encode_pixels(network, params, pixels, mask)


def make_point(
    networks: tuple[Network, Network],
    num_frames: int,
    turns: Turns,
    number: int,
    measured: dict[str, Any],
) -> DialPoint:
    """Return what was measured of a setting, without its options.

    Args:
        networks: that of the setting, and that of the model.
        num_frames: frames of a video.
        turns: what all networks made; the first is of the model, and the last keeps every token.
        number: the place of the setting among them.
        measured: what `measure_retrieval` returned.
    """
    macs, own_macs = (count_macs(network, num_frames)[0] for network in networks)
    cosine = compute_cosines(turns.vectors[number], turns.vectors[0])
    seconds = turns.seconds[number]

    def compare(base: list[float]) -> float:
        return statistics.median(b / s for b, s in zip(base, seconds, strict=True))

    to_video, to_text = (
        {name: value for name, value in measured[way].items() if isinstance(value, float)}
        for way in ("text_to_video", "video_to_text")
    )
    return DialPoint(
        options={}, is_trained=number == 0,
        tokens=count_output_tokens(networks[0], list_stages(networks[0], num_frames)),
        gmacs=macs / 1e9, videos_per_second=turns.batch / statistics.median(seconds),
        speed=compare(turns.seconds[0]), counted=own_macs / macs,
        over_plain=compare(turns.seconds[-1]), text_to_video=to_video, video_to_text=to_text,
        cosine_mean=float(cosine.mean()), cosine_least=float(cosine.min()),
    )  # fmt: skip


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
    return sorted(marked, key=lambda point: point.speed)
