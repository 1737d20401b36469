"""Which files of subtitles belong to which videos, by their names."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tempme_jax.video.suffixes import SUBTITLE_FORMATS, VIDEO_SUFFIXES

if TYPE_CHECKING:
    from tempme_jax.search.indexing.walk import FoundFile

_SUFFIXES = frozenset(map(os.fsencode, SUBTITLE_FORMATS))
_VIDEO_SUFFIXES = frozenset(map(os.fsencode, VIDEO_SUFFIXES))
# What may stand between the name of a video and the suffix: en, pt-BR, forced, sdh.
_LABEL = re.compile(rb"[a-z]{2,20}([-_][a-z0-9]{1,8})*")


def is_named_as_subtitles(path: bytes) -> bool:
    """Return whether a file has the suffix of subtitles."""
    return os.path.splitext(path)[1].lower() in _SUFFIXES


def match_names(
    videos: Iterable["FoundFile"], texts: Iterable["FoundFile"]
) -> list[tuple["FoundFile", "FoundFile"]]:
    """Return pairs of a video and a file of subtitles in the same folder.

    film.srt, film.en.srt, film.en.forced.srt and film.mp4.srt belong to film.mp4, and to film.mkv.
    """
    by_stem: dict[bytes, list[FoundFile]] = defaultdict(list)
    for video in videos:
        by_stem[os.path.splitext(video.path)[0].lower()].append(video)
    pairs = []
    for text in texts if by_stem else ():
        stem, is_label = os.path.splitext(text.path)[0].lower(), True
        while stem not in by_stem and is_label:
            stem, dot, label = stem.rpartition(b".")
            is_label = bool(dot) and is_part_of_name(label)
        pairs += [(video, text) for video in by_stem.get(stem, ())] if is_label else []
    return pairs


def is_part_of_name(label: bytes) -> bool:
    """Return whether a part of a name between dots is a language, a kind, or a video's suffix."""
    return bool(_LABEL.fullmatch(label)) or b"." + label in _VIDEO_SUFFIXES
