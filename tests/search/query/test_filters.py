"""Which videos a search looks at."""

import datetime
import os

import pytest

from tempme_jax.search.query.catalogue import Catalogue
from tempme_jax.search.query.filters import Filters, find_midnight
from tempme_jax.search.store.rows import FileRow

NAMES = ("trip/Beach [4k].mp4", "trip/grüße.avi", "work/lecture 1.mp4")
DAYS = (datetime.date(2026, 1, 1), datetime.date(2026, 2, 1), datetime.date(2026, 3, 1))


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos").resolve()
    rows = [
        FileRow(
            str(i), str(root), os.fsencode(name), 1, int(find_midnight(day) * 1e9) + i,
            content=f"{i:032x}", seconds=10.0 * i, windows=1,
        )
        for i, (name, day) in enumerate(zip(NAMES, DAYS, strict=True))
    ]  # fmt: skip
    return Catalogue(rows, {row.id: root / os.fsdecode(row.path) for row in rows})


@pytest.mark.parametrize(
    "filters, found",
    [
        ({}, [0, 1, 2]),
        ({"name": "beach"}, [0]),
        ({"name": " TRIP/ "}, [0, 1]),
        ({"name": "[4K]"}, [0]),
        ({"name": "GRÜSSE"}, [1]),
        ({"name": "gru\u0308ße"}, [1]),
        ({"name": "*.mp4"}, [0, 2]),
        ({"name": "lecture ?.mp4"}, [2]),
        ({"name": "lecture?"}, []),
        ({"name": "trip/*[4k]*"}, [0]),
        ({"name": ".*"}, []),
        ({"name": "work", "max_seconds": 5}, []),
        ({"after": "2026-02-01"}, [1, 2]),
        ({"after": DAYS[0], "before": DAYS[1]}, [0, 1]),
        ({"before": "2026-01-31"}, [0]),
        ({"after": datetime.date.min, "before": datetime.date.max}, [0, 1, 2]),
        ({"before": datetime.date.min}, []),
    ],
)
def test_a_video_passes_all_filters(catalogue, filters, found):
    first = catalogue.select(**filters)
    assert [catalogue.rows[file].path for file in first[first >= 0]] == [
        os.fsencode(NAMES[number]) for number in found
    ]


def test_filters_are_put_into_words():
    given = Filters(folder="/v", name="cat", min_seconds=60, after="2026-01-31")
    said = "in /v with 'cat' in its name of 60 s or more changed on 2026-01-31 or later"
    assert given.describe() == said and Filters().describe() == ""


@pytest.mark.parametrize("day", ["yesterday", "2026-02-30", "", 5])
def test_what_is_no_day_is_said(day):
    with pytest.raises(ValueError, match="is not a day; give one such as 2026-01-31"):
        Filters(after=day)
