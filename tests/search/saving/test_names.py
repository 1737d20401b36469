"""Names of saved moments are safe on every system, and differ where the moments do."""

from pathlib import Path

import pytest

from tempme_jax.search.saving.names import clean_stem, make_mark, name_part


@pytest.mark.parametrize(
    ("stem", "cleaned"),
    [
        ("cat", "cat"),
        ('a/b\\c:d*e?f"g<h>i|j', "a b c d e f g h i j"),
        ("..", "video"),
        ("-rf ~", "rf"),
        ("CON", "CON_"),
        ("\x1b[31m\u202egpj", "[31mgpj"),
        ("u\u0308ber.", "über"),
        ("bad\udcff name", "bad name"),
        ("ü" * 200, "ü" * 60),
    ],
)
def test_cleaned(stem, cleaned):
    assert clean_stem(stem) == cleaned


def test_marks_tell_moments_of_one_name_apart():
    marks = {make_mark(*each) for each in [("ab-1", 0, 2), ("ab-2", 0, 2), ("cd-1", 0, 2)]}
    assert len(marks) == 2  # windows of one content, and of another
    assert name_part(Path("x/cat.mp4"), 0, 2, mark="0a1b2c") == "cat 0m00s-0m02s 0a1b2c.mp4"
