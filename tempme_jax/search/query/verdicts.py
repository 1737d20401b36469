"""How well a moment fits its query, in one word: its verdict.

The limits were chosen with `benchmarks/verdicts.py`, which measures them anew.
"""

import math

# The verdicts, the best first.
SAME, STRONG, POSSIBLE, WEAK = VERDICTS = ("same", "strong", "possible", "weak")
# Those of a confident match.
CONFIDENT = (SAME, STRONG)
# Least percentiles of a strong match and of a possible one.
LEAST_STRONG, LEAST_POSSIBLE = 98.0, 50.0
# A cosine above it is that of a query with itself: what differs is rounding.
SAME_COSINE = 0.999


def choose_verdict(score: float, percentile: float, *, is_same: bool = False) -> str:
    """Return the verdict of a moment: "same", "strong", "possible" or "weak".

    Args:
        score: cosine of the query and the best window.
        percentile: rank of the score, 0 to 100, see `UnrelatedScores`; NaN if it is not known,
            and then any match is possible whose score is not negative.
        is_same: whether the moment is known to be what was asked with.
    """
    if is_same or score > SAME_COSINE:
        return SAME
    if math.isnan(percentile):
        return WEAK if score < 0 else POSSIBLE
    if percentile >= LEAST_STRONG:
        return STRONG
    return POSSIBLE if percentile >= LEAST_POSSIBLE else WEAK
