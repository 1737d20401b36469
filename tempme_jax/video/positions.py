"""Positions of evenly spread frames: the middles of equal spans of time."""

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
