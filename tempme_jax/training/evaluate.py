"""Evaluation: all texts and videos of a split embedded, compared and ranked."""

import functools
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from tempme_jax.datasets.prepared import Prepared
from tempme_jax.inputs import to_pixels
from tempme_jax.model import TEXT_BATCH, Model
from tempme_jax.networks.clip import Clip
from tempme_jax.training.batches import Reading, Videos, batches
from tempme_jax.training.config import Config
from tempme_jax.training.metrics import Bootstrap, QueryBank, retrieval_metrics
from tempme_jax.training.order import Pairs, pairs_of
from tempme_jax.training.sharding import place_batch, replicated
from tempme_jax.vectors import unit_length

# Training texts whose similarities make the query bank of QB-Norm.
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
) -> dict[str, Any]:
    """Both directions of retrieval on a split.

    Args:
        model: as it is trained; its own parameters are not used.
        params: in their place, on the devices of the mesh.
        prepared: the split.
        config: what `Evaluate` says counts.
        mesh: of the devices.
        intervals: whether confidence intervals are made, too.
        bank: the split whose texts and videos are the query bank of QB-Norm.

    Returns:
        As `metrics.retrieval_metrics`.
    """
    settings = config.evaluate
    embed = functools.partial(embed_split, model, params, config=config, mesh=mesh)
    texts, videos, queries = embed(prepared)
    scale = np.exp(np.float32(params["logit_scale"]))
    similarities = None
    if settings.qb_norm:
        bank_texts, bank_videos, _ = embed(bank)
        bank_texts, bank_videos = bank_texts[:LARGEST_BANK], bank_videos[:LARGEST_BANK]
        similarities = QueryBank(scale * (bank_texts @ videos.T), scale * (bank_videos @ texts.T))
    return retrieval_metrics(
        scale * (texts @ videos.T),
        queries.video,
        ties=settings.ties,
        intervals=Bootstrap(draws=settings.draws, seed=config.seed) if intervals else None,
        dual_softmax=settings.dual_softmax,
        bank=similarities,
    )


def embed_split(
    model: Model, params: dict, prepared: Prepared, config: Config, mesh: Mesh
) -> tuple[np.ndarray, np.ndarray, Pairs]:
    """The vectors [texts, e] and [videos, e] of a split, and which text is of which video."""
    queries = pairs_of(prepared.captions, prepared.groups)
    texts = embed_texts(model, params, list(queries.texts), mesh)
    return texts, embed_videos(model, params, prepared, config, mesh), queries


def embed_videos(
    model: Model, params: dict, prepared: Prepared, config: Config, mesh: Mesh
) -> np.ndarray:
    """Unit vectors, float32 [videos, e], in every process."""
    reading = Reading(prepared, model.num_frames, config.evaluate.frame_sampling)
    size = rounded_up(config.evaluate.batch_size, mesh.shape["data"])
    vectors = np.zeros((len(prepared), model.arch.embed_dim), np.float32)
    with batches(
        Videos(reading, size),
        size,
        workers=config.data.workers,
        process=jax.process_index(),
        processes=jax.process_count(),
    ) as reader:
        for rows in reader:
            number, found = encode_videos(model.network, mesh, params, place_batch(mesh, rows))
            number = np.asarray(number)
            vectors[number[number >= 0]] = np.asarray(found)[number >= 0]
    return vectors


def embed_texts(model: Model, params: dict, texts: list[str], mesh: Mesh) -> np.ndarray:
    """Unit vectors, float32 [texts, e], in every process."""
    size = rounded_up(TEXT_BATCH, mesh.shape["data"])
    ids, mask = model.tokenizer(texts)
    vectors = [np.zeros((0, model.arch.embed_dim), np.float32)]
    for start in range(0, len(texts), size):
        part = slice(start, start + size)
        fill = size - len(ids[part])
        filled = (np.pad(a[part], ((0, fill), (0, 0)))[own_rows(size)] for a in (ids, mask))
        rows = place_batch(mesh, dict(zip(("ids", "text_mask"), filled, strict=True)))
        found = np.asarray(encode_texts(model.network, mesh, params, rows))
        vectors.append(found[: size - fill])
    return np.concatenate(vectors)


def own_rows(size: int) -> slice:
    """Which rows of a batch that all processes have are this one's."""
    share = size // jax.process_count()
    return slice(jax.process_index() * share, (jax.process_index() + 1) * share)


def rounded_up(size: int, multiple: int) -> int:
    """The next size that devices can share."""
    return -(-size // multiple) * multiple


@functools.partial(jax.jit, static_argnums=(0, 1))
def encode_videos(network: Clip, mesh: Mesh, params: dict, batch: dict[str, jax.Array]):
    """The numbers of the videos and their unit vectors [b, e], on every device."""
    adapter, params = network.adapter.fold(params)
    pixels = to_pixels(batch["frames"], network.arch.image_size)
    folded = network.copy(adapter=adapter)
    vectors = folded.apply({"params": params}, pixels, batch["frame_mask"], method="encode_video")[
        0
    ]
    result = batch["video"], unit_length(vectors)
    return jax.lax.with_sharding_constraint(result, replicated(mesh))


@functools.partial(jax.jit, static_argnums=(0, 1))
def encode_texts(network: Clip, mesh: Mesh, params: dict, batch: dict[str, jax.Array]):
    """Unit vectors [b, e], on every device."""
    adapter, params = network.adapter.fold(params)
    folded = network.copy(adapter=adapter)
    vectors = folded.apply(
        {"params": params}, batch["ids"], batch["text_mask"], method="encode_text"
    )
    return jax.lax.with_sharding_constraint(unit_length(vectors), replicated(mesh))
