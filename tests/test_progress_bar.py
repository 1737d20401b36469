"""The one progress bar goes to standard error, and only to a terminal."""

import io
import sys

import pytest

from tempme_jax.screen import make_progress_bar


class Terminal(io.StringIO):
    """A terminal that keeps what is written to it."""

    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "quiet", "is_shown"),
    [(Terminal(), False, True), (Terminal(), True, False), (io.StringIO(), False, False)],
)
def test_a_bar_is_shown_on_a_terminal_only(monkeypatch, stream, quiet, is_shown):
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(make_progress_bar([1, 2], "Counting", unit="things", quiet=quiet)) == [1, 2]
    assert ("Counting" in stream.getvalue() and "things" in stream.getvalue()) == is_shown
