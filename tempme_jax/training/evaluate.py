"""Measure retrieval on a split: embed all texts and videos, compare them and rank them."""

import functools
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from tempme_jax.datasets import find_data_set
from tempme_jax.datasets.prepared import Prepared
from tempme_jax.model import Model
from tempme_jax.training.config import Config, DataSettings
from tempme_jax.training.metrics import Bootstrap, QueryBank, measure_retrieval
from tempme_jax.training.order import make_pairs
from tempme_jax.training.places import make_storage
from tempme_jax.training.rerank import rerank_pairs
from tempme_jax.training.split_embedder import SplitEmbedder

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
    settings, embedder = config.evaluate, SplitEmbedder(model, params, config, mesh, quiet)
    queries = make_pairs(prepared.captions, prepared.groups)
    texts, videos = embedder.embed_texts(list(queries.texts)), embedder.embed_videos(prepared)
    similarity, similarities = embedder.compare(texts, videos), None
    if settings.qb_norm:
        assert bank is not None
        similarities = measure_bank(embedder, bank, texts, videos)
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
    if embedder.tau:
        plain["protocol"]["notes"].append(f"late interaction over frames, tau {embedder.tau:.3g}")
    if not settings.rerank:
        return plain
    to_video, to_text, cost = rerank_pairs(
        model, params, prepared, config, mesh, list(queries.texts), similarity, quiet=quiet
    )
    measured = measure(to_video, for_videos=to_text)
    measured["protocol"]["notes"].append(f"the {cost['best']} best re-ranked by the matching head")
    plain = {direction: plain[direction] for direction in ("text_to_video", "video_to_text")}
    return measured | {"plain": plain, "rerank": cost}


def measure_bank(
    embedder: SplitEmbedder, bank: Prepared, texts: np.ndarray, videos: Any
) -> QueryBank:
    """Return the similarities of a split to the texts and videos of another, for QB-Norm."""
    queries = make_pairs(bank.captions, bank.groups)
    bank_texts, bank_videos = embedder.embed_texts(list(queries.texts)), embedder.embed_videos(bank)
    cut = functools.partial(jax.tree.map, lambda rows: rows[:LARGEST_BANK])
    return QueryBank(
        embedder.compare(cut(bank_texts), videos), embedder.compare(texts, cut(bank_videos)).T
    )


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
