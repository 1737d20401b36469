"""Queries of several parts: a text and a picture together, and words to leave out.

The parts become one vector, so every index is searched as by a plain query. How well a moment fits
is told by its percentiles for the text and for the picture alone, since those of a mixture cannot
be compared with anything.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from tempme_jax.search.query.results import Moment, Results
from tempme_jax.search.query.verdicts import CONFIDENT, SAME, SAME_COSINE

if TYPE_CHECKING:
    from tempme_jax.search.query.same import OwnPart
    from tempme_jax.search.query.searcher import Searcher

# How much of each text to leave out is subtracted. On the built-in samples (docs/reference/http.md)
# more also drives away what is wanted.
SUBTRACTED = 0.5
MOST_LEFT_OUT = 8
# The least spread of a part, as a share of the largest one: a text about nothing in the index does
# not count for more and more.
LEAST_SPREAD = 0.2
NOT_BOTH = "no moment fits both the text and the picture for sure"


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixedQuery:
    """The parts of a query.

    Attributes:
        text: what is to be seen, in a sentence; "" for none.
        picture: unit vector of a picture or a clip, float32 [d]; None for none.
        kind: what that is: "picture", "clip", or "similar" for a window of the index.
        own: the part of the index that it was taken from, which is the same; None for none.
        weight: share of the picture, 0 to 1, if there is a text too.
        without: texts that say what is not to be seen.

    Raises:
        ValueError: there is neither text nor picture, or the weight is no share.
    """

    text: str = ""
    picture: np.ndarray | None = None
    kind: str = "picture"
    own: "OwnPart | None" = None
    weight: float = 0.5
    without: tuple[str, ...] = ()

    def __post_init__(self):
        """Check the parts."""
        if not self.text.strip() and self.picture is None:
            raise ValueError("there is nothing to search for: give a text or a picture")
        if not 0 <= self.weight <= 1:
            raise ValueError(f"weight={self.weight} is the share of the picture: from 0 to 1")
        if len(self.without) > MOST_LEFT_OUT:
            raise ValueError(f"{len(self.without)} texts to leave out; at most {MOST_LEFT_OUT}")

    @property
    def shares(self) -> dict[str, float]:
        """The share of each part, by its kind."""
        if self.picture is None:
            return {"text": 1.0}
        return {"text": 1 - self.weight, self.kind: self.weight} if self.text else {self.kind: 1.0}


def split_phrases(words: str) -> tuple[str, ...]:
    """Return the phrases between commas, such as of "people, snow"."""
    return tuple(part.strip() for part in words.split(",") if part.strip())


def search_mixed(
    searcher: "Searcher",
    query: MixedQuery,
    embed_text: Callable[[list[str]], np.ndarray],
    **options: Any,
) -> Results:
    """Find the moments that match a query of several parts.

    Args:
        searcher: searches the index.
        query: the parts.
        embed_text: returns the unit vectors of texts, float32 [n, d].
        **options: as for `Searcher.search`.
    """
    texts = [query.text] * bool(query.text) + list(query.without)
    vectors = np.asarray(embed_text(texts), np.float32) if texts else np.zeros((0, 0), np.float32)
    parts: dict[str, np.ndarray] = {}
    if query.text:
        parts["text"] = vectors[0]
    if query.picture is not None:
        parts[query.kind] = np.asarray(query.picture, np.float32)
    unwanted = vectors[len(vectors) - len(query.without) :]
    mixed = compose(query.shares, parts, unwanted, searcher.measure_spread)
    kind = "text" if query.text else query.kind
    own = None if query.text else query.own  # with a text, others than the same are looked for
    is_mixed = len(parts) > 1 or bool(query.without)
    found = searcher.search(
        mixed, kind=kind, query=query.text, own=own, is_mixed=is_mixed, **options
    )
    if not is_mixed:
        return found
    moments = tuple(judge(one, searcher, query.shares, parts) for one in found.moments)
    confident = bool(moments) and moments[0].verdict in CONFIDENT
    message = found.message
    if moments and len(parts) == 1:
        message = searcher.doubt(moments[0], kind)
    elif moments:
        message = "" if confident else NOT_BOTH
    # The scores of a mixture have no scale.
    return dataclasses.replace(
        found, moments=moments, confident=confident, message=message, levels=None,
        kind="mixed" if len(parts) == 2 else kind,
    )  # fmt: skip


def compose(
    shares: dict[str, float],
    parts: dict[str, np.ndarray],
    without: Iterable[np.ndarray],
    measure_spread: Callable[[np.ndarray], float],
) -> np.ndarray:
    """Return the unit vector of a query: parts by their shares, less what is to be left out.

    Scores of pictures differ more over an index than those of texts, so a plain sum would follow
    the picture. Each vector is divided by the spread of its scores.
    """
    weighed = [(shares[kind], part) for kind, part in parts.items()]
    weighed += [(-SUBTRACTED, vector) for vector in without]
    spreads = np.array([measure_spread(vector) for _, vector in weighed])
    if not np.isfinite(spreads).all():  # the index is small
        spreads = np.ones(len(spreads))
    spreads = np.maximum(spreads, max(LEAST_SPREAD * spreads.max(), 1e-6))
    mixed = sum(share / s * vector for (share, vector), s in zip(weighed, spreads, strict=True))
    return np.asarray(mixed / max(float(np.linalg.norm(mixed)), 1e-12), np.float32)


def judge(
    moment: Moment, searcher: "Searcher", shares: dict[str, float], parts: dict[str, np.ndarray]
) -> Moment:
    """Return a moment with the mean score and percentile of the parts, weighed by their shares.

    Its verdict is chosen anew, unless it is what a query of one part was taken from.
    """
    vector = searcher.find_vector(moment.window)
    if vector is None:  # the index changed meanwhile
        return moment
    scores = {kind: float(part @ vector) for kind, part in parts.items()}
    percentiles = {
        kind: searcher.measure_unrelated(kind).compute_percentile(score)
        for kind, score in scores.items()
    }
    # With a higher score it may only be the mixture that is the same.
    is_own = len(parts) == 1 and moment.verdict == SAME and moment.score <= SAME_COSINE
    return dataclasses.replace(
        moment,
        score=sum(shares[kind] * score for kind, score in scores.items()),
        percentile=sum(shares[kind] * one for kind, one in percentiles.items()),
        verdict=SAME if is_own else "",
    )
