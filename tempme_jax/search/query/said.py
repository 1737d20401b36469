"""Find the moments in which the words of a text are said, by the subtitles of an index.

Nothing about words can be compared with a cosine. So these moments have no score, and stand in a
group of their own.
"""

import bisect
import dataclasses
import math
import os
from typing import Any

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.query.catalogue import Catalogue
from tempme_jax.search.query.filters import Filters
from tempme_jax.search.query.results import SAID, Moment, Results
from tempme_jax.search.query.searcher import Searcher
from tempme_jax.search.query.verdicts import POSSIBLE, STRONG
from tempme_jax.search.store.rows import make_window_id
from tempme_jax.search.store.subtitle_file import open_subtitles
from tempme_jax.search.store.subtitles import FoundLines, Subtitles, TrackRow
from tempme_jax.words import printable_name

# Longer passages are cut when they are shown.
LONGEST_TEXT = 500


def add_said(
    results: Results, uri: str, searcher: Searcher, text: str, k: int, **filters: Any
) -> Results:
    """Add the moments in which the words of a text are said to what was seen.

    Args:
        results: what was seen.
        uri: address of the index.
        searcher: the searcher of the index.
        text, k, **filters: as for `VideoIndex.search`; options that choose no videos do nothing.
    """
    try:
        with open_subtitles(uri) as subtitles:
            if subtitles is None:
                return results
            names = {field.name for field in dataclasses.fields(Filters)} & filters.keys()
            chosen = {name: filters[name] for name in names}
            said = find_said(subtitles, searcher, text, k, **chosen)
    except VideoIndexError as error:
        notice = "; ".join(filter(None, [results.notice, str(error)]))
        return dataclasses.replace(results, notice=notice)
    return dataclasses.replace(results, said=tuple(said))


def find_said(
    subtitles: Subtitles, searcher: Searcher, text: str, k: int, **filters: Any
) -> list[Moment]:
    """Find at most `k` moments in which all words of a text are said, best first.

    Several tracks of a video may hold the same words at the same time; the first one counts.
    """
    catalogue = searcher.catalogue
    first, moments = catalogue.select(**filters), list[Moment]()
    spans: dict[int, list[tuple[float, float]]] = {}
    for found in subtitles.find(text):
        content = find_content(searcher, found.track)
        if content is None or first[content] < 0:
            continue
        file = int(first[content])
        before = spans.setdefault(content, [])
        is_known = any(found.start < end and found.end > start for start, end in before)
        if is_known or found.start >= catalogue.rows[file].seconds:
            continue
        window = find_window_at(searcher, content, found.start)
        if window:
            before.append((found.start, found.end))
            moments.append(make_moment(catalogue, file, window, found))
        if len(moments) == k:
            break
    return moments


def find_content(searcher: Searcher, track: TrackRow) -> int | None:
    """Return the number of the content that a track belongs to; None if it cannot be found."""
    row = searcher.files.get(track.owner)
    return searcher.catalogue.number.get(row.content if row else track.owner)


def find_window_at(searcher: Searcher, content: int, seconds: float) -> str:
    """Return the id of the last window of a content that begins by a time; "" if it is missing."""
    catalogue = searcher.catalogue
    name, count = catalogue.names[content], int(catalogue.windows[content])

    def find_start(number: int) -> float:
        found = searcher.find_window(make_window_id(name, number))
        return found.start if found else math.inf

    number = bisect.bisect_right(range(count), seconds, key=find_start) - 1
    return make_window_id(name, number) if number >= 0 else ""


def make_moment(catalogue: Catalogue, file: int, window: str, found: FoundLines) -> Moment:
    """Make the moment of lines that were found."""
    row, track = catalogue.rows[file], found.track
    copies = catalogue.list_files(int(catalogue.contents[file]))
    cut = "..." if len(found.text) > LONGEST_TEXT else ""
    return Moment(
        file=catalogue.paths[file],
        start=found.start,
        end=min(found.end, row.seconds),
        at=found.start,
        score=math.nan,
        percentile=math.nan,
        window=window,
        file_id=row.id,
        copies=tuple(catalogue.paths[i] for i in copies if i != file),
        verdict=STRONG if found.exact else POSSIBLE,
        found_in=SAID,
        text=found.text[:LONGEST_TEXT] + cut,
        subtitles=describe_track(track),
    )


def describe_track(track: TrackRow) -> str:
    """Return the name of a file of subtitles, or the number and language of a track in a video."""
    if track.name.isdigit():
        language = f" ({track.label})" if track.label else ""
        return f"track {track.name.decode()}{language} of the video"
    return printable_name(os.path.basename(track.name))
