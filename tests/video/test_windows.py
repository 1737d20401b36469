"""Windows cover a video evenly, each with as many frames, and the worked examples come out."""

import itertools
from fractions import Fraction

import pytest

from tempme_jax.video.positions import find_middles
from tempme_jax.video.windows import Sampling, cut_into_windows

HALF = Fraction(1, 2)


def spans(length, **sampling):
    return [
        (float(w.start), float(w.end))
        for w in cut_into_windows(Fraction(length), Sampling(**sampling))
    ]


def test_a_video_of_whole_windows():
    windows = cut_into_windows(Fraction(24), Sampling(frames=12))
    assert [(w.start, w.end) for w in windows] == [(0, 12), (6, 18), (12, 24)]
    assert windows[1].moments == tuple(6 + i + HALF for i in range(12))


def test_the_last_window_ends_with_the_video():
    windows = cut_into_windows(Fraction("20.25"), Sampling(frames=12))
    # 21 moments, of which the last would be at 20.5 s.
    assert [(w.start, w.end) for w in windows] == [(0, 12), (6, 18), (9, Fraction("20.25"))]
    assert windows[2].moments == (*(9 + i + HALF for i in range(11)), Fraction("20.25"))


def test_rate_and_overlap():
    assert spans(5, frames=4, fps=2, overlap=0.75) == [(i / 2, i / 2 + 2) for i in range(7)]
    assert spans(5, frames=4, fps=2, overlap=0) == [(0, 2), (2, 4), (3, 5)]
    assert spans(30, frames=4, fps=1 / 3) == [(0, 12), (6, 18), (12, 24), (18, 30)]


def test_frames_after_which_the_next_window_starts():
    strides = [Sampling(frames=12, overlap=overlap).stride for overlap in (0, 0.5, 0.75, 0.99)]
    assert strides == [12, 6, 3, 1]
    assert Sampling(frames=1).stride == 1


@pytest.mark.parametrize("length", [Fraction(1, 100), Fraction("7.3"), Fraction(12)])
def test_a_short_video_is_one_window(length):
    (window,) = cut_into_windows(length, Sampling(frames=12))
    assert window == (0, length, tuple(find_middles(Fraction(0), length, 12)))


def test_laws():
    lengths = [Fraction(1, 30), Fraction("11.99"), 12, Fraction("12.01"), Fraction(1001, 30), 61]
    rates, overlaps = (1 / 3, 1, 2.5), (0, 0.4, 0.5, 0.9)
    for length, frames, fps, overlap in itertools.product(lengths, (1, 5, 12), rates, overlaps):
        sampling = Sampling(frames=frames, fps=fps, overlap=overlap)
        windows = cut_into_windows(Fraction(length), sampling)
        assert windows[0].start == 0
        assert windows[-1].end == length
        assert len({w.start for w in windows}) == len(windows)
        for window in windows:
            assert len(window.moments) == frames
            assert list(window.moments) == sorted(set(window.moments))
            assert window.start <= window.moments[0] <= window.moments[-1] <= window.end
        steps = [b.start - a.start for a, b in itertools.pairwise(windows)]
        assert all(step == sampling.stride / sampling.rate for step in steps[:-1])
        assert all(0 < step <= sampling.stride / sampling.rate for step in steps[-1:])
        assert all(b.start <= a.end for a, b in itertools.pairwise(windows))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("frames", (0, -1, 2.5, True, "12")),
        ("fps", (0, -1, float("nan"), float("inf"), 1e-9)),
        ("overlap", (-0.1, 1, float("nan"))),
    ],
)
def test_values_out_of_range(name, values):
    for value in values:
        with pytest.raises(ValueError, match=f"{name}={value!r} must be"):
            Sampling(**{"frames": 12, name: value})


def test_a_video_of_no_length():
    with pytest.raises(ValueError, match="length=0 s must be positive"):
        cut_into_windows(Fraction(0), Sampling(frames=12))
