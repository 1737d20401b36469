"""Positions of evenly spread frames: the middles of equal spans of time."""

import math
from fractions import Fraction


def find_middles(start: Fraction, end: Fraction, count: int) -> list[Fraction]:
    """Return the middles of `count` equal spans of the time from `start` to `end`.

    >>> [float(time) for time in find_middles(Fraction(0), Fraction(3), 2)]
    [0.75, 2.25]
    """
    return [start + (end - start) * Fraction(2 * i + 1, 2 * count) for i in range(count)]


def pick_evenly(stored: int, count: int) -> list[int]:
    """Return the indices of at most `count` of `stored` frames, evenly spread.

    >>> pick_evenly(10, 5), pick_evenly(3, 5)
    ([1, 3, 5, 7, 9], [0, 1, 2])
    """
    if stored <= count:
        return list(range(stored))
    return [int(middle) for middle in find_middles(Fraction(0), Fraction(stored), count)]


def check_part(start: float, end: float | None) -> None:
    """Raise a ValueError unless `start` and `end` are a part of a video, in seconds.

    >>> check_part(3, 2)
    Traceback (most recent call last):
    ValueError: start=3 s and end=2 s are not a part of a video; it starts at 0 s or later, and \
ends after its start
    """
    last = math.inf if end is None else end
    if not 0 <= start < last or not (end is None or math.isfinite(end)):
        stated = "no end" if end is None else f"end={end:g} s"
        raise ValueError(
            f"start={start:g} s and {stated} are not a part of a video; it starts at 0 s or later, "
            "and ends after its start"
        )
