"""Evaluation: embed all texts and videos of a split, compare them and rank them."""

import functools
from typing import Any, cast

import jax
import numpy as np
from jax.sharding import Mesh

from tempme_jax.datasets import find_data_set
from tempme_jax.datasets.prepared import Prepared
from tempme_jax.encoding import TEXT_BATCH
from tempme_jax.inputs import convert_to_pixels
from tempme_jax.late_interaction import FrameVectors, require_tau, scale_to_unit, score_in_blocks
from tempme_jax.model import Model
from tempme_jax.networks.network import Network
from tempme_jax.screen import make_progress_bar
from tempme_jax.training.batches import FrameReader, VideoRows, read_batches
from tempme_jax.training.config import Config, DataSettings
from tempme_jax.training.metrics import Bootstrap, QueryBank, measure_retrieval
from tempme_jax.training.order import Pairs, make_pairs
from tempme_jax.training.places import make_storage
from tempme_jax.training.rerank import rerank_pairs
from tempme_jax.training.sharding import place, place_batch, replicate, round_up, split_rows
from tempme_jax.vectors import normalize

# At most so many training texts, and as many videos, make the query bank of QB-Norm.
LARGEST_BANK = 10_000


def evaluate_split(
    model: Model,
    params: dict,
    prepared: Prepared,
    config: Config,
    mesh: Mesh,
    *,
    intervals: bool = False,
    bank: Prepared | None = None,
    quiet: bool = True,
) -> dict[str, Any]:
    """Measure retrieval on a split in both directions.

    Args:
        model: the model; `params` are used in place of its own parameters.
        params: the parameters, on the devices of the mesh.
        prepared: the split.
        config: the settings, mainly those of `config.evaluate`.
        mesh: the mesh of all devices.
        intervals: whether to compute confidence intervals.
        bank: the split whose texts and videos are the query bank of QB-Norm, if that is on.
        quiet: whether the progress bar is hidden.

    Returns:
        The measures, see `metrics.measure_retrieval`; those of hard negatives, if the data set has
        kinds of them. If the best are re-ranked, also "plain", both
        directions without that, and "rerank", its cost, see `rerank.rerank_pairs`.
    """
    settings, network = config.evaluate, model.network
    tau = float(network.compute_tau(params)) if network.tau else 0.0
    if settings.tau:
        tau = require_tau("evaluate.tau", settings.tau)
    embed = functools.partial(
        embed_split, model, params, config=config, mesh=mesh, quiet=quiet, each_frame=tau > 0
    )
    texts, videos, queries = embed(prepared)
    compare = functools.partial(compare_vectors, np.asarray(network.compute_scale(params)), tau)
    similarity, similarities = compare(texts, videos), None
    if settings.qb_norm:
        assert bank is not None
        bank_texts, bank_videos, _ = embed(bank)
        cut = functools.partial(jax.tree.map, lambda rows: rows[:LARGEST_BANK])
        similarities = QueryBank(
            compare(cut(bank_texts), videos), compare(texts, cut(bank_videos)).T
        )
    measure = functools.partial(
        measure_retrieval,
        video_of_text=queries.video,
        ties=settings.ties,
        rivals=settings.rivals,
        intervals=Bootstrap(draws=settings.draws, seed=config.seed) if intervals else None,
        dual_softmax=settings.dual_softmax,
        bank=similarities,
        negatives=find_negatives(config.data, prepared, queries.video),
    )
    plain = measure(similarity)
    if tau:
        plain["protocol"]["notes"].append(f"late interaction over frames, tau {tau:.3g}")
    if not settings.rerank:
        return plain
    to_video, to_text, cost = rerank_pairs(
        model, params, prepared, config, mesh, list(queries.texts), similarity, quiet=quiet
    )
    measured = measure(to_video, for_videos=to_text)
    measured["protocol"]["notes"].append(f"the {cost['best']} best re-ranked by the matching head")
    plain = {direction: plain[direction] for direction in ("text_to_video", "video_to_text")}
    return measured | {"plain": plain, "rerank": cost}


def find_negatives(
    data: DataSettings, prepared: Prepared, video_of_text: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the hard negative of each text by kinds, as numbers of videos; -1 for none.

    Args:
        data: the settings of the data set, which says what the negatives are.
        prepared: the splits; a negative may be missing, as its video was bad.
        video_of_text: int [texts], the video of each text.
    """
    kind_of_set, variant, first = find_data_set(data.name), make_storage(data).variant, 0
    found: dict[str, np.ndarray] = {}
    for split in prepared.splits:
        last = first + prepared.report[split]["prepared"]
        ids = prepared.ids[first:last]
        numbers = {name: number for number, name in enumerate(ids, start=first)}
        for kind, negatives in kind_of_set.list_negatives(variant, split).items():
            of_video = found.setdefault(kind, np.full(len(prepared), -1))
            of_video[first:last] = [numbers.get(negatives.get(name, ""), -1) for name in ids]
        first = last
    return {kind: of_video[video_of_text] for kind, of_video in found.items()}


def compare_vectors(scale: np.ndarray, tau: float, texts: np.ndarray, videos: Any) -> np.ndarray:
    """Return the similarities of texts and videos, or of texts and their frames if there is tau."""
    return scale * (score_in_blocks(texts, videos, tau) if tau else texts @ videos.T)


def embed_split(
    model: Model,
    params: dict,
    prepared: Prepared,
    config: Config,
    mesh: Mesh,
    quiet: bool = True,
    each_frame: bool = False,
) -> tuple[np.ndarray, Any, Pairs]:
    """Return the vectors [texts, e] and [videos, e] of a split, and the video of each text.

    With `each_frame`, those of videos are `FrameVectors`.
    """
    queries = make_pairs(prepared.captions, prepared.groups)
    texts = embed_texts(model, params, list(queries.texts), mesh)
    videos = embed_videos(model, params, prepared, config, mesh, quiet, each_frame)
    return texts, videos, queries


def embed_videos(
    model: Model,
    params: dict,
    prepared: Prepared,
    config: Config,
    mesh: Mesh,
    quiet: bool = True,
    each_frame: bool = False,
) -> Any:
    """Return unit vectors of all videos, float32 [videos, e], in every process.

    A progress bar is shown on a terminal unless `quiet`. `each_frame`: see `embed_split`.
    """
    frame_reader = FrameReader(prepared, model.num_frames, config.evaluate.frame_sampling)
    size = round_up(config.evaluate.batch_size, mesh.shape["data"])
    f, e = model.num_frames, model.arch.embed_dim
    shapes = [(e,), (f, e), (f,)] if each_frame else [(e,)]
    vectors = [np.zeros((len(prepared), *shape), np.float32) for shape in shapes]
    label = f"Embedding {'+'.join(prepared.splits)}"
    quiet = quiet or jax.process_index() > 0
    bar = make_progress_bar(label=label, total=len(prepared), unit="videos", quiet=quiet)
    with (
        bar,
        read_batches(
            VideoRows(frame_reader, size),
            size,
            workers=config.data.workers,
            process=jax.process_index(),
            processes=jax.process_count(),
        ) as reader,
    ):
        for rows in reader:
            batch = place_batch(mesh, rows)
            number, *found = encode_videos(model.network, mesh, params, batch, each_frame)
            number = np.asarray(number)
            for whole, part in zip(vectors, found, strict=True):
                whole[number[number >= 0]] = np.asarray(part)[number >= 0]
            bar.update(int(np.count_nonzero(number >= 0)))
    return FrameVectors(*vectors) if each_frame else vectors[0]


def embed_texts(model: Model, params: dict, texts: list[str], mesh: Mesh) -> np.ndarray:
    """Return unit vectors of all texts, float32 [texts, e], in every process."""
    size = round_up(TEXT_BATCH, mesh.shape["data"])
    ids, mask = model.tokenizer(texts)
    vectors = [np.zeros((0, model.arch.embed_dim), np.float32)]
    for start in range(0, len(texts), size):
        part = slice(start, start + size)
        fill = size - len(ids[part])
        rows = {
            name: place(split_rows(mesh), np.pad(array[part], ((0, fill), (0, 0))))
            for name, array in (("ids", ids), ("text_mask", mask))
        }
        found = np.asarray(encode_texts(model.network, mesh, params, rows))
        vectors.append(found[: size - fill])
    return np.concatenate(vectors)


@functools.partial(jax.jit, static_argnums=(0, 1, 4))
def encode_videos(
    network: Network,
    mesh: Mesh,
    params: dict,
    batch: dict[str, jax.Array],
    each_frame: bool = False,
) -> tuple[jax.Array, ...]:
    """Return the numbers of the videos and their vectors [b, e], on every device.

    With `each_frame`, the vectors are the three arrays of `FrameVectors`.
    """
    adapter, params = network.adapter.fold(params)
    encode = functools.partial(network.copy(adapter=adapter).apply, {"params": params})
    arch = network.arch
    pixels = convert_to_pixels(batch["frames"], arch.image_size, arch.mean, arch.std)
    if each_frame:
        found: Any = encode(pixels, batch["frame_mask"], method="encode_video_frames")
        result = batch["video"], *(scale_to_unit(found) if network.unit_videos else found)
    else:
        vectors, _ = encode(pixels, batch["frame_mask"], method="encode_video")
        result = batch["video"], normalize(vectors) if network.unit_videos else vectors
    return jax.lax.with_sharding_constraint(result, replicate(mesh))


@functools.partial(jax.jit, static_argnums=(0, 1))
def encode_texts(network: Network, mesh: Mesh, params: dict, batch: dict[str, jax.Array]):
    """Return unit vectors of texts, [b, e], on every device."""
    adapter, params = network.adapter.fold(params)
    encode = functools.partial(network.copy(adapter=adapter).apply, {"params": params})
    vectors = cast(jax.Array, encode(batch["ids"], batch["text_mask"], method="encode_text"))
    return jax.lax.with_sharding_constraint(normalize(vectors), replicate(mesh))
