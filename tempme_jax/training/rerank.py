"""Re-ranking: a matching head judges the best pairs of the two towers, each text with each video.

Every video is encoded once, and so are the keys and values that texts attend to: the pairs of both
directions are judged video by video.
"""

import functools
import time
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from tempme_jax.datasets.prepared import Prepared
from tempme_jax.encoding import TEXT_BATCH
from tempme_jax.inputs import convert_to_pixels
from tempme_jax.model import Model
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.attention import Seen
from tempme_jax.networks.macs import list_stages
from tempme_jax.networks.network import Network
from tempme_jax.networks.tokens import Tokens
from tempme_jax.screen import make_progress_bar
from tempme_jax.training.batches import FrameReader, VideoRows, read_batches
from tempme_jax.training.config import Config
from tempme_jax.training.sharding import place, place_batch, replicate, round_up, split_rows

# The score of a pair that is not judged, as in UMT's code, unless one that is has less.
NOT_JUDGED = -100.0
# Texts that are judged at once for each video of a batch.
TEXTS_AT_ONCE = 16

Memory = tuple[Seen, ...]


def rerank_pairs(
    model: Model,
    params: dict,
    prepared: Prepared,
    config: Config,
    mesh: Mesh,
    texts: list[str],
    similarity: Float[np.ndarray, "texts videos"],
    *,
    quiet: bool = True,
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Judge the best videos of every text, and the best texts of every video.

    Args:
        model, params, prepared, config, mesh, quiet: those of `evaluate.evaluate_split`.
        texts: the texts.
        similarity: by which the best are chosen, `config.evaluate.rerank` of each row and column.

    Returns:
        The scores from text to video and from video to text, float32 [texts, videos] each, which
        are `NOT_JUDGED` outside the best; and the cost: "best" (of a small split all), "pairs",
        "seconds", and "mac", the multiply-accumulates of the blocks that see both, in units of
        10^9.
    """
    started = time.monotonic()
    best = min(config.evaluate.rerank, max(similarity.shape))
    of_texts, of_videos = find_best(similarity, best), find_best(similarity.T, best).T
    judged = of_texts | of_videos
    pairs, quiet = int(judged.sum()), quiet or jax.process_index() > 0
    size = round_up(config.evaluate.batch_size, mesh.shape["data"])
    reader = FrameReader(prepared, model.num_frames, config.evaluate.frame_sampling)
    words = read_all_texts(model, params, texts, mesh)
    label = f"Re-ranking {'+'.join(prepared.splits)}"
    with (
        make_progress_bar(label=label, total=pairs, unit="pairs", quiet=quiet) as bar,
        read_batches(
            VideoRows(reader, size), size, workers=config.data.workers,
            process=jax.process_index(), processes=jax.process_count(),
        ) as batches,
    ):  # fmt: skip
        scores = judge_batches(model.network, mesh, params, words, judged, batches, bar.update)
    cost = {
        "best": best,
        "pairs": pairs,
        "seconds": time.monotonic() - started,
        "mac": count_judging(model, pairs=pairs, videos=len(prepared)) / 1e9,
    }
    least = min(NOT_JUDGED, scores.min() - 1)
    to_video, to_text = (np.where(chosen, scores, least) for chosen in (of_texts, of_videos))
    return to_video, to_text, cost


def find_best(scores: Float[np.ndarray, "n m"], best: int) -> Bool[np.ndarray, "n m"]:
    """Return whether each score is among the best of its row; of equal ones, the first are."""
    found = np.zeros(scores.shape, bool)
    for row, chosen in zip(scores, found, strict=True):
        chosen[np.argsort(-row, kind="stable")[:best]] = True
    return found


def judge_batches(
    network: Network,
    mesh: Mesh,
    params: dict,
    words: Tokens,
    judged: Bool[np.ndarray, "texts videos"],
    batches: Iterable[dict[str, np.ndarray]],
    report: Callable[[int], Any],
) -> Float[np.ndarray, "texts videos"]:
    """Return the logits of "fits" where `judged`, and zeros elsewhere, in every process.

    `words` are those of all texts; `report` is told the number of pairs whenever some are judged.
    """
    scores = np.zeros(judged.shape, np.float32)
    for rows in batches:
        number, memory = remember_videos(network, mesh, params, place_batch(mesh, rows))
        number = np.asarray(number)
        for index in list_rounds(judged, number):
            placed = place(split_rows(mesh), np.maximum(index, 0))
            found = np.asarray(judge_pairs(network, mesh, params, memory, words, placed))
            row, column = np.nonzero(index >= 0)
            scores[index[row, column], number[row]] = found[row, column]
            report(len(row))
    return scores


def list_rounds(
    judged: Bool[np.ndarray, "texts videos"], number: Int[np.ndarray, " m"]
) -> list[Int[np.ndarray, "m c"]]:
    """List the texts to judge with each video of a batch, some at a time; -1 fills up.

    >>> judged = np.array([[True, True], [True, False]])
    >>> [index[:, :3].tolist() for index in list_rounds(judged, np.array([1, 0, -1]))]
    [[[0, -1, -1], [0, 1, -1], [-1, -1, -1]]]
    """
    texts = [np.flatnonzero(judged[:, video]) if video >= 0 else [] for video in number]
    rounds = -(-max(map(len, texts)) // TEXTS_AT_ONCE)
    index = np.full((len(number), rounds * TEXTS_AT_ONCE), -1, np.int32)
    for row, of_video in zip(index, texts, strict=True):
        row[: len(of_video)] = of_video
    return np.split(index, rounds, axis=1) if rounds else []


def read_all_texts(model: Model, params: dict, texts: list[str], mesh: Mesh) -> Tokens:
    """Return the words of all texts, which have not seen a video yet, on every device."""
    size = round_up(TEXT_BATCH, mesh.shape["data"])
    ids, mask = model.tokenizer(texts)
    parts = []
    for start in range(0, len(texts), size):
        part = slice(start, start + size)
        fill = (0, size - len(ids[part])), (0, 0)
        placed = (place(split_rows(mesh), np.pad(array[part], fill)) for array in (ids, mask))
        parts.append(read_texts(model.network, mesh, params, *placed))
    return jax.tree.map(lambda *arrays: jnp.concatenate(arrays), *parts)


@functools.partial(jax.jit, static_argnums=(0, 1))
def read_texts(
    network: Network, mesh: Mesh, params: dict, ids: Int[Array, "b n"], mask: Bool[Array, "b n"]
) -> Tokens:
    """Return the words of texts, on every device."""
    _, words = bind(network, params)(ids, mask, method="read_text")
    return jax.lax.with_sharding_constraint(words, replicate(mesh))


@functools.partial(jax.jit, static_argnums=(0, 1))
def remember_videos(
    network: Network, mesh: Mesh, params: dict, batch: dict[str, jax.Array]
) -> tuple[jax.Array, Memory]:
    """Return the numbers of the videos, on every device, and the keys and values of each."""
    arch, apply = network.arch, bind(network, params)
    pixels = convert_to_pixels(batch["frames"], arch.image_size, arch.mean, arch.std)
    _, tokens = apply(pixels, batch["frame_mask"], method="encode_video")
    memory = apply(tokens, method="remember")
    constrain = jax.lax.with_sharding_constraint
    return constrain(batch["video"], replicate(mesh)), constrain(memory, split_rows(mesh))


@functools.partial(jax.jit, static_argnums=(0, 1))
def judge_pairs(
    network: Network, mesh: Mesh, params: dict, memory: Memory, words: Tokens, index: jax.Array
) -> Float[Array, "m c"]:
    """Return the logits of "fits" of each video with the texts of its row of `index` [m, c]."""
    chosen = jax.tree.map(lambda a: a[index.reshape(-1)], words)
    logits = bind(network, params)(chosen, memory, method="judge")
    return jax.lax.with_sharding_constraint(logits[:, 1].reshape(index.shape), replicate(mesh))


def bind(network: Network, params: dict) -> Any:
    """Return the function that calls a network, with low-rank changes folded in."""
    adapter, params = network.adapter.fold(params)
    return functools.partial(network.copy(adapter=adapter).apply, {"params": params})


def count_judging(model: Model, *, pairs: int, videos: int) -> int:
    """Count the multiply-accumulates of pairs whose videos' keys and values are made once."""
    last = list_stages(model.network, model.num_frames)[-1]
    seen, arch = last.clips * last.out, model.arch
    of_video, of_pair = count_fusion_macs(arch, model.max_words, seen)
    return videos * of_video + pairs * of_pair


def count_fusion_macs(arch: Architecture, words: int, seen: int) -> tuple[int, int]:
    """Count the multiply-accumulates of the blocks in which a text sees a video.

    Args:
        arch: the sizes.
        words: ids of a text, padding included.
        seen: tokens of a video.

    Returns:
        Those of the keys and values of a video, and of a text with them.

    >>> from tempme_jax.networks.architecture import ARCHITECTURES
    >>> [round(n / 1e9, 2) for n in count_fusion_macs(ARCHITECTURES["UMT-B/16"], 32, 2352)]
    [8.32, 1.14]
    """
    d, layers = arch.text_width, arch.text_depth - arch.first_cross
    products = (6 * d + 2 * arch.get_mlp_width("text")) * d
    block = words * products + 2 * words * (words + seen) * d
    return layers * 2 * seen * arch.width * d, layers * block
