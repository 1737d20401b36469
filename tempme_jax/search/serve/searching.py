"""Searches as the page asks for them: by a text, a posted file or a window, with filters."""

import copy
import os
from typing import Any

from starlette.exceptions import HTTPException

from tempme_jax.search.query.mixing import MixedQuery, split_phrases
from tempme_jax.search.query.results import Moment, Results
from tempme_jax.search.query.verdicts import VERDICTS
from tempme_jax.search.query.wording import SENTENCES, WINDOWS
from tempme_jax.search.serve.parameters import FilterParameters, SearchParameters
from tempme_jax.search.serve.schemas import (
    LineAnswer,
    SearchAnswer,
    make_message,
    make_moment_answer,
    make_name_answer,
    replace_unencodable,
)
from tempme_jax.search.serve.service import NOTHING_INDEXED, Service, make_missing_error
from tempme_jax.search.serve.videos import find_known, find_path
from tempme_jax.text.base import BaseTokenizer

BEING_READ = "the index has changed and is still being read; search again in a moment"
# Kinds of queries that are compared with windows of the index.
SEEN = ("picture", "clip", "similar")


def search(service: Service, asked: SearchParameters) -> SearchAnswer:
    """Find the moments that a text, a picture, or both describe."""
    asked.check()
    notes = [] if service.refresh() else [BEING_READ]
    if not service.index.exists:
        return make_empty_answer(asked.q)
    options = make_options(service, asked)
    picture = find_picture(service, asked)
    if asked.like is not None and asked.file is None:  # wanted are others than the moment itself
        options["exclude_content"] = asked.like.rpartition("-")[0]
    text, without = asked.q.strip() and asked.q, split_phrases(asked.without)
    if picture == {} and not without:
        if asked.rerank:
            require_judge(service)
        if asked.tau is not None:
            require_frames(service)
            options["tau"] = asked.tau
        results = service.index.search(text, asked.k, rerank=asked.rerank, **options)
    else:
        try:
            mixed = MixedQuery(text=text, weight=asked.weight, without=without, **picture)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        results = service.index.search_mixed(mixed, asked.k, **options)
    if text:
        notes.append(explain_cut(service.open_model().tokenizer, text))
    return make_answer(service, asked, results, describe_query(service, asked), *notes)


def search_similar(service: Service, window: str, asked: FilterParameters) -> SearchAnswer:
    """Find moments of other videos that look like a window."""
    asked.check()
    service.refresh()
    service.require_index()
    try:
        results = service.index.similar(window, asked.k, **make_options(service, asked))
    except KeyError as error:
        raise make_missing_error() from error
    return make_answer(service, asked, results, results.query)


def make_options(service: Service, asked: FilterParameters) -> dict[str, Any]:
    """Return the filters of a search as `VideoIndex.search` takes them."""
    folder = service.find_folder(asked.folder) if asked.folder else None
    if asked.file is not None:
        folder = os.fspath(find_path(service, asked.file))
    filters = {
        "folder": folder,
        "name": (asked.name or "").strip() or None,
        "min_seconds": asked.min_seconds,
        "max_seconds": asked.max_seconds,
        "after": asked.after,
        "before": asked.before,
    }
    per_video = None if asked.file is not None else asked.per_video or None
    return {**filters, "per_video": per_video, "lines": True}


def find_picture(service: Service, asked: SearchParameters) -> dict[str, Any]:
    """Return the picture, clip or window of a query, as `MixedQuery` takes it; {} for none."""
    if asked.like is not None:
        vector = service.index.find_vector(asked.like)
        if vector is None:
            raise make_missing_error()
        return {"picture": vector, "kind": "similar"}
    if asked.query is not None:
        posted = service.posted.find(asked.query, service.index.header["model"])
        return {"picture": posted.vector, "kind": posted.kind, "own": posted.own}
    return {}


def describe_query(service: Service, asked: SearchParameters) -> str:
    """Return a query in words: its text, or the name of the file that was posted."""
    if asked.q.strip() or asked.query is None:
        return asked.q
    posted = service.posted.find(asked.query)
    return f"the {posted.kind} {posted.name}".rstrip()


def require_judge(service: Service) -> None:
    """Raise a 422 error if the model of the index cannot judge a text and a video together."""
    if not service.can_rerank():
        raise HTTPException(
            422,
            "the model of this index compares vectors only, so it cannot rerank; index with a "
            "model that has a matching head, such as UMT",
        )


def require_frames(service: Service) -> None:
    """Raise a 422 error if the index keeps no vectors of frames."""
    if "per_frame" not in service.index.header:
        raise HTTPException(
            422,
            "this index keeps no vectors of frames, so it has no tau; make it again with "
            "tempme index --rebuild --per-frame",
        )


def make_empty_answer(query: str) -> SearchAnswer:
    """Return the answer if nothing is indexed yet."""
    return SearchAnswer(
        query=replace_unencodable(query), kind="text", moments=[], confident=False, verdict=None,
        shown=0, compared=SENTENCES, searched=0, message=NOTHING_INDEXED,
    )  # fmt: skip


def make_answer(
    service: Service, asked: FilterParameters, results: Results, query: str, *notes: str
) -> SearchAnswer:
    """Convert results: those of at least the verdict that is asked for, in the order asked for."""
    least = VERDICTS.index(asked.verdict)
    shown = {moment.window for moment in results.shown}
    moments = [one for one in results.moments if VERDICTS.index(one.verdict) <= least]
    hidden = [one for one in moments if one.window not in shown]
    moments = [one for one in moments if one.window in shown]
    files, count = {one.file_id for one in (*moments, *hidden)}, len(moments)
    moments = order(service, moments, asked.sort) + order(service, hidden, asked.sort)
    message = make_message(results, *notes)
    if results.moments and not moments:
        best = results.moments[0].verdict
        message = f"no moment is at least a {asked.verdict} match; the best one is {best}"
    return SearchAnswer(
        query=replace_unencodable(query),
        kind=results.kind,  # pyright: ignore[reportArgumentType]  # one of these words
        moments=[convert(service, one) for one in moments],
        confident=results.confident and bool(moments),
        verdict=results.verdict if moments else None,  # pyright: ignore[reportArgumentType]
        shown=count,
        compared=WINDOWS if results.kind in SEEN else SENTENCES,
        searched=results.searched,
        message=message,
        said=[convert(service, one) for one in results.said],
        names=[
            make_name_answer(one, find_known(service, one.file_id), query) for one in results.names
        ],
        more_names=results.more_names,
        lines=[
            LineAnswer(file_id=one.file_id, seconds=one.seconds, scores=list(one.scores))
            for one in results.lines
            if one.file_id in files
        ],
        levels=results.levels,
        tau=results.tau,
    )


def convert(service: Service, moment: Moment) -> Any:
    """Convert a moment."""
    return make_moment_answer(moment, find_known(service, moment.file_id))


def order(service: Service, moments: list[Moment], by: str) -> list[Moment]:
    """Return moments in another order than by match, which they have."""
    if by == "time":
        return sorted(moments, key=lambda one: (os.fsencode(one.file), one.start))
    if by == "date":
        changed = {one.file_id: service.index.find_row(one.file_id) for one in moments}
        times = {name: row.mtime_ns if row else 0 for name, row in changed.items()}
        return sorted(
            moments, key=lambda one: (-times[one.file_id], os.fsencode(one.file), one.start)
        )
    return moments


def explain_cut(tokenizer: BaseTokenizer, text: str) -> str:
    """Return a sentence that says how much of a text the model reads; "" if it reads all."""
    if len(text.encode()) <= tokenizer.room:
        return ""
    whole = copy.copy(tokenizer)
    # At most one id for each byte; repairing broken Unicode may make a text somewhat longer.
    whole.max_words = 8 * len(text.encode()) + 2
    ids, mask = whole(text)
    if mask.sum() <= tokenizer.max_words:
        return ""
    kept = tokenizer.decode(ids[0, : tokenizer.longest])
    return f"The model reads no more of the text than its beginning: {kept!r}."
