"""Evaluation: embed all texts and videos of a split, compare them and rank them."""

import functools
from typing import Any, cast

import jax
import numpy as np
from jax.sharding import Mesh

from tempme_jax.datasets.prepared import Prepared
from tempme_jax.encoding import TEXT_BATCH
from tempme_jax.inputs import convert_to_pixels
from tempme_jax.model import Model
from tempme_jax.networks.network import Network
from tempme_jax.screen import make_progress_bar
from tempme_jax.training.batches import FrameReader, VideoRows, read_batches
from tempme_jax.training.config import Config
from tempme_jax.training.metrics import Bootstrap, QueryBank, measure_retrieval
from tempme_jax.training.order import Pairs, make_pairs
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
        The measures, see `metrics.measure_retrieval`. If the best are re-ranked, also "plain", both
        directions without that, and "rerank", its cost, see `rerank.rerank_pairs`.
    """
    settings = config.evaluate
    embed = functools.partial(embed_split, model, params, config=config, mesh=mesh, quiet=quiet)
    texts, videos, queries = embed(prepared)
    scale = np.asarray(model.network.compute_scale(params))
    similarity, similarities = scale * (texts @ videos.T), None
    if settings.qb_norm:
        assert bank is not None
        bank_texts, bank_videos, _ = embed(bank)
        bank_texts, bank_videos = bank_texts[:LARGEST_BANK], bank_videos[:LARGEST_BANK]
        similarities = QueryBank(scale * (bank_texts @ videos.T), scale * (bank_videos @ texts.T))
    measure = functools.partial(
        measure_retrieval,
        video_of_text=queries.video,
        ties=settings.ties,
        rivals=settings.rivals,
        intervals=Bootstrap(draws=settings.draws, seed=config.seed) if intervals else None,
        dual_softmax=settings.dual_softmax,
        bank=similarities,
    )
    plain = measure(similarity)
    if not settings.rerank:
        return plain
    to_video, to_text, cost = rerank_pairs(
        model, params, prepared, config, mesh, list(queries.texts), similarity, quiet=quiet
    )
    measured = measure(to_video, for_videos=to_text)
    measured["protocol"]["notes"].append(f"the {cost['best']} best re-ranked by the matching head")
    plain = {direction: plain[direction] for direction in ("text_to_video", "video_to_text")}
    return measured | {"plain": plain, "rerank": cost}


def embed_split(
    model: Model, params: dict, prepared: Prepared, config: Config, mesh: Mesh, quiet: bool = True
) -> tuple[np.ndarray, np.ndarray, Pairs]:
    """Return the vectors [texts, e] and [videos, e] of a split, and the video of each text."""
    queries = make_pairs(prepared.captions, prepared.groups)
    texts = embed_texts(model, params, list(queries.texts), mesh)
    return texts, embed_videos(model, params, prepared, config, mesh, quiet), queries


def embed_videos(
    model: Model, params: dict, prepared: Prepared, config: Config, mesh: Mesh, quiet: bool = True
) -> np.ndarray:
    """Return unit vectors of all videos, float32 [videos, e], in every process.

    A progress bar is shown on a terminal unless `quiet`.
    """
    frame_reader = FrameReader(prepared, model.num_frames, config.evaluate.frame_sampling)
    size = round_up(config.evaluate.batch_size, mesh.shape["data"])
    vectors = np.zeros((len(prepared), model.arch.embed_dim), np.float32)
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
            number, found = encode_videos(model.network, mesh, params, place_batch(mesh, rows))
            number = np.asarray(number)
            vectors[number[number >= 0]] = np.asarray(found)[number >= 0]
            bar.update(int(np.count_nonzero(number >= 0)))
    return vectors


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


@functools.partial(jax.jit, static_argnums=(0, 1))
def encode_videos(network: Network, mesh: Mesh, params: dict, batch: dict[str, jax.Array]):
    """Return the numbers of the videos and their vectors [b, e], on every device."""
    adapter, params = network.adapter.fold(params)
    encode = functools.partial(network.copy(adapter=adapter).apply, {"params": params})
    arch = network.arch
    pixels = convert_to_pixels(batch["frames"], arch.image_size, arch.mean, arch.std)
    vectors, _ = encode(pixels, batch["frame_mask"], method="encode_video")
    vectors = normalize(vectors) if network.unit_videos else vectors
    result = batch["video"], vectors
    return jax.lax.with_sharding_constraint(result, replicate(mesh))


@functools.partial(jax.jit, static_argnums=(0, 1))
def encode_texts(network: Network, mesh: Mesh, params: dict, batch: dict[str, jax.Array]):
    """Return unit vectors of texts, [b, e], on every device."""
    adapter, params = network.adapter.fold(params)
    encode = functools.partial(network.copy(adapter=adapter).apply, {"params": params})
    vectors = cast(jax.Array, encode(batch["ids"], batch["text_mask"], method="encode_text"))
    return jax.lax.with_sharding_constraint(normalize(vectors), replicate(mesh))
