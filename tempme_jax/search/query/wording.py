"""What a search says of its results, in plain words."""

import math
from typing import TYPE_CHECKING, Final

from tempme_jax.search.query.filters import Filters
from tempme_jax.search.query.verdicts import CONFIDENT, SAME, WEAK
from tempme_jax.words import pluralize

if TYPE_CHECKING:  # it imports this module
    from tempme_jax.search.query.scoring import UnrelatedScores

# What a query of each kind is called, and what its scores are compared with.
QUERIES = {
    "text": "sentence",
    "picture": "picture",
    "clip": "clip",
    "similar": "moment",
    "mixed": "query",
}
SENTENCES: Final = "unrelated sentences"
WINDOWS: Final = "windows in other videos"


def describe_verdict(verdict: str, kind: str) -> str:
    """Return the verdict of one moment in words; `kind` is that of the query, as in `Results`.

    >>> describe_verdict("possible", "text"), describe_verdict("same", "picture")
    ('possible match', 'the same picture')
    """
    return f"the same {QUERIES[kind]}" if verdict == SAME else f"{verdict} match"


def name_compared(kind: str) -> str:
    """Return what the scores of a kind of query are compared with."""
    return SENTENCES if kind == "text" else WINDOWS


def format_percentile(percentile: float) -> str:
    """Return a percentile as whole percent, cut, so that it never seems to reach a limit.

    >>> format_percentile(97.9), format_percentile(math.nan)
    ('97 %', '-')
    """
    return "-" if math.isnan(percentile) else f"{math.floor(percentile + 1e-6)} %"


def explain_doubt(
    verdict: str, percentile: float, kind: str, unrelated: "UnrelatedScores", least: int
) -> str:
    """Return why the best moment is no sure match; "" if it is one.

    Args:
        verdict, percentile: those of the moment.
        kind: the kind of the query.
        unrelated: what the score was compared with.
        least: how many of them a percentile needs.
    """
    if verdict in CONFIDENT:
        return ""
    compared = name_compared(kind)
    if math.isnan(percentile):
        return (
            f"how well this matches cannot be told: that takes at least {least} {compared} to "
            f"compare with, and the index has {len(unrelated)}"
        )
    share = f"{format_percentile(percentile)} of {compared}"
    if verdict != WEAK:
        return f"possible match: the best moment scores higher than {share}"
    missing = {
        "text": "these videos hardly show that",
        "picture": "nothing here looks much like the picture",
        "clip": "nothing here looks much like the clip",
    }.get(kind, "nothing else here looks much like it")
    return f"weak match: the best moment scores higher than only {share}; {missing}"


def explain_damage(count: int, what: str) -> str:
    """Return a sentence that says how many videos or windows are missing or damaged."""
    return (
        f"{pluralize(count, what)} cannot be found, as the index is damaged; "
        "`tempme index FOLDER --verify` repairs it"
    )


def explain_empty(filters: Filters, is_one_excluded: bool) -> str:
    """Return a sentence that says that no video passes the filters."""
    video = "other video" if is_one_excluded else "video"
    return f"nothing to search: the index has no {video} {filters.describe()}".rstrip()
