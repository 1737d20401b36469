"""Order the best moments anew by a model that looks at text and video together."""

import contextlib
import dataclasses
import os
from typing import TYPE_CHECKING

import numpy as np

from tempme_jax.screen import make_progress_bar
from tempme_jax.search.query import frames
from tempme_jax.search.query.searcher import Moment, Results
from tempme_jax.video import workers
from tempme_jax.video.container import VideoError
from tempme_jax.words import pluralize

if TYPE_CHECKING:
    from tempme_jax.model import Model
    from tempme_jax.search.query.searcher import Searcher


def rerank_moments(
    results: Results, *, text: str, count: int, model: "Model", uri: str, searcher: "Searcher",
    quiet: bool = True,
) -> Results:  # fmt: skip
    """Judge the first `count` moments by their best windows, and order them by `Moment.fit`.

    Moments that are not judged, and those whose video cannot be read any more, follow in their
    order.

    Args:
        results: what the search by vectors found.
        text: the query.
        count: number of moments to judge.
        model: the model, which must have a matching head.
        uri, searcher: the index.
        quiet: whether the progress bar is hidden.
    """
    chosen, rest = results.moments[:count], results.moments[count:]
    excerpts = [frames.find_excerpt(model, uri, searcher, moment.window) for moment in chosen]
    found = read_excerpts([one for one in excerpts if one is not None], quiet=quiet)
    readable = [number for number, one in enumerate(excerpts) if one in found]
    fits: dict[int, float] = {}
    if readable:
        videos = np.stack([found[excerpts[number]] for number in readable])  # pyright: ignore[reportArgumentType]
        fits = dict(zip(readable, model.judge(text, videos).tolist(), strict=True))
    judged = [dataclasses.replace(chosen[number], fit=fit) for number, fit in fits.items()]
    unread = [moment for number, moment in enumerate(chosen) if number not in fits]
    moments: tuple[Moment, ...] = (*sorted(judged, key=rank_by_fit), *unread, *rest)
    notice = results.notice
    if unread:
        gone = f"{pluralize(len(unread), 'moment')} could not be judged, as no video can be read"
        notice = f"{notice}; {gone}" if notice else gone
    return dataclasses.replace(results, moments=moments, notice=notice)


def rank_by_fit(moment: Moment) -> float:
    """Return the key that sorts moments by their fit, best first."""
    assert moment.fit is not None
    return -moment.fit


def read_excerpts(
    excerpts: list[frames.VideoExcerpt], *, quiet: bool
) -> dict[frames.VideoExcerpt, np.ndarray]:
    """Return the frames, uint8 [t, s, s, 3], of the excerpts that can be read."""
    read = {}
    results = workers.decode_all(
        excerpts, workers=max(1, (os.cpu_count() or 2) - 1), seconds=frames.PATIENCE,
        total=frames.MOST_SECONDS, decode=frames.decode_excerpt,
    )  # fmt: skip
    bar = make_progress_bar(label="Judging", total=len(excerpts), unit="moments", quiet=quiet)
    with contextlib.closing(results), bar:
        for excerpt, result in results:
            bar.update(1)
            if not isinstance(result, VideoError):
                read[excerpt] = result[0]
    return read
