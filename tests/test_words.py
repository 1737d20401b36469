"""Numbers, times and names in words."""

import pytest

from tempme_jax.words import format_clock, format_duration, pluralize, printable_name


@pytest.mark.parametrize("seconds, text", [(0, "0:00"), (62.4, "1:02"), (3723, "1:02:03")])
def test_a_clock_rounds_to_seconds(seconds, text):
    assert format_clock(seconds) == text


@pytest.mark.parametrize(
    "seconds, text", [(59.99, "0:59.9"), (7.0, "0:07"), (3661.25, "1:01:01.2")]
)
def test_a_clock_with_tenths_never_shows_what_is_yet_to_come(seconds, text):
    assert format_clock(seconds, tenths=True) == text


@pytest.mark.parametrize(
    "seconds, text", [(89.4, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "1.5 h")]
)
def test_durations_take_the_largest_fitting_unit(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    "count, word, text",
    [(1, "patch", "1 patch"), (0, "patch", "0 patches"), (2, "day", "2 days")],
)
def test_plurals(count, word, text):
    assert pluralize(count, word) == text


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"a/b c.mp4", "a/b c.mp4"),
        ("日本\u3000語 été 🎬.mp4".encode(), "日本\u3000語 été 🎬.mp4"),
        (b"\xe9t\xe9.mp4", "\ufffdt\ufffd.mp4"),
        (b"\x1b[31mred\x9b\x7f\r\n\t\0", "\ufffd[31mred" + 6 * "\ufffd"),
        ("a\u0085\u2028\u202egpj.mp4".encode(), "a\ufffd\ufffd\ufffdgpj.mp4"),
        ("👩\u200d💻 3\u202fPM.mov".encode(), "👩\u200d💻 3\u202fPM.mov"),
    ],
)
def test_shown_names_do_nothing_to_a_terminal(path, expected):
    assert printable_name(path) == expected
