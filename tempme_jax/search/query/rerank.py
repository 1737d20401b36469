"""Order the best moments anew by a model that looks at text and video together."""

import contextlib
import dataclasses
import os
from typing import TYPE_CHECKING

import numpy as np

from tempme_jax.screen import make_progress_bar
from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.query import frames
from tempme_jax.search.query.results import Results
from tempme_jax.video import workers
from tempme_jax.video.container import VideoError
from tempme_jax.words import pluralize

if TYPE_CHECKING:
    from tempme_jax.model import Model
    from tempme_jax.search.query.searcher import Searcher


def rerank_moments(
    results: Results, k: int, count: int, model: "Model", uri: str, searcher: "Searcher"
) -> Results:
    """Judge the first `count` moments by their best windows, and order them by `Moment.fit`.

    Moments that are not judged, and those whose video cannot be read any more, follow in their
    order. Whether the match is confident is told by the score of the moment that is now the first.
    A progress bar is shown on a terminal.

    Args:
        results: what the search by vectors found.
        k: return at most this many moments.
        count: number of moments to judge.
        model, uri, searcher: those of the index.

    Raises:
        VideoIndexError: the model has no matching head.
    """
    if not model.network.can_judge:
        raise VideoIndexError(
            f"the model of the index ({model.arch.backbone}, {model.method}) compares vectors "
            "only; to rerank, index with a model that has a matching head, such as UMT"
        )
    chosen, rest = results.moments[:count], results.moments[count:]
    excerpts = [frames.find_excerpt(model, uri, searcher, moment.window) for moment in chosen]
    read = read_excerpts([one for one in excerpts if one is not None])
    found = {number: read[one] for number, one in enumerate(excerpts) if one in read}
    fits: dict[int, float] = {}
    if found:
        judged = model.judge(results.query, np.stack(list(found.values())))
        fits = dict(zip(found, judged.tolist(), strict=True))
    best = sorted(fits, key=lambda number: -fits[number])
    moments = [dataclasses.replace(chosen[number], fit=fits[number]) for number in best]
    unread = [moment for number, moment in enumerate(chosen) if number not in fits]
    notice = results.notice
    if unread:
        gone = (
            f"{pluralize(len(unread), 'moment')} could not be judged, as the video is gone, cannot "
            "be read or has changed since; `tempme index` looks at it again"
        )
        notice = f"{notice}; {gone}" if notice else gone
    kept = (*moments, *unread, *rest)[:k]
    message = searcher.doubt(kept[0]) if kept else results.message
    return dataclasses.replace(
        results, moments=kept, confident=bool(kept) and not message, message=message, notice=notice
    )


def read_excerpts(
    excerpts: list[frames.VideoExcerpt],
) -> dict[frames.VideoExcerpt, np.ndarray]:
    """Return the frames, uint8 [t, s, s, 3], of the excerpts that can be read."""
    read = {}
    results = workers.decode_all(
        excerpts, workers=max(1, (os.cpu_count() or 2) - 1), seconds=frames.PATIENCE,
        total=frames.MOST_SECONDS, decode=frames.decode_excerpt,
    )  # fmt: skip
    bar = make_progress_bar(label="Judging", total=len(excerpts), unit="moments")
    with contextlib.closing(results), bar:
        for excerpt, result in results:
            bar.update(1)
            if not isinstance(result, VideoError):
                read[excerpt] = result[0]
    return read
