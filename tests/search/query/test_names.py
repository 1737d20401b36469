"""Files and folders whose names hold the words of a query are found, and others are not."""

from pathlib import Path

import numpy as np
import pytest

from tempme_jax.search.query.catalogue import Catalogue
from tempme_jax.search.query.names import NameSearch, find_marks, split_words
from tempme_jax.search.store.rows import FileRow

NAMES = [
    "holiday 2019/beach.mp4",
    "holiday 2019/sub/cats.mp4",
    "work/BigCat.mp4",
    "work/location.mp4",
    "work/IMG20190412.mp4",
    "Gru\u0308\u00dfe/\u6771\u4eac\u99c5.mp4",
]


def search(query, passes=None):
    rows = [
        FileRow(f"{i}", "/v", name.encode(), 1, 1, f"c{i}", 5.0, 1) for i, name in enumerate(NAMES)
    ]
    catalogue = Catalogue(rows, {row.id: Path("/v") / row.path.decode() for row in rows})
    chosen = np.array([passes is None or passes in row.path.decode() for row in catalogue.rows])
    names, more = NameSearch(catalogue).find(query, chosen)
    assert more == 0
    return [(str(one.path.relative_to("/v")), one.is_folder, one.count) for one in names]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("the holiday", [("holiday 2019", True, 2)]),
        ("2019 holiday", [("holiday 2019", True, 2)]),
        ("holiday cats", [("holiday 2019/sub/cats.mp4", False, 1)]),
        ("cat", [("holiday 2019/sub/cats.mp4", False, 1), ("work/BigCat.mp4", False, 1)]),
        ("2019", [("holiday 2019", True, 2), ("work/IMG20190412.mp4", False, 1)]),
        ("grusse", [("Gru\u0308\u00dfe", True, 1)]),
        ("\u4eac", [("Gru\u0308\u00dfe/\u6771\u4eac\u99c5.mp4", False, 1)]),
        ("work beach", []),
        ("?!", []),
    ],
)
def test_names(query, expected):
    assert search(query) == expected


def test_only_files_that_pass_are_found():
    assert search("holiday", "cats") == [("holiday 2019", True, 1)]
    assert search("holiday", "work") == []


def test_words_and_marks():
    assert split_words("The CATS of IMG_2019, the cats") == ["cats", "img", "2019"]
    assert split_words("on the") == ["on", "the"]
    assert find_marks(["gru", "2019"], "Gr\u00fc\u00dfe 2019") == [(0, 3), (6, 10)]
