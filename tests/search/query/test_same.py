"""A query that is taken from an indexed file is known by its bytes, wherever it lies."""

import math
import types

import pytest

from tempme_jax.search.query.same import OwnPart, find_own_part
from tempme_jax.search.store.rows import FileRow
from tempme_jax.video.fingerprint import hash_samples
from tempme_jax.video.opening import hold_file


@pytest.fixture
def searcher(tmp_path):
    path = tmp_path / "indexed.mp4"
    path.write_bytes(bytes(range(256)) * 10)
    with hold_file(str(path)) as held:
        samples = hash_samples(held)
    row = FileRow("1", "/v", b"a.mp4", 2560, 1, "aa", 5.0, 1, samples=samples)
    return types.SimpleNamespace(files={"1": row})


def test_equal_bytes_are_the_same(searcher, tmp_path):
    copy = tmp_path / "copy.mp4"
    copy.write_bytes((tmp_path / "indexed.mp4").read_bytes())
    assert find_own_part(searcher, copy) == OwnPart("aa", 0.0, math.inf)
    assert find_own_part(searcher, str(copy), 2.0, 3.5) == OwnPart("aa", 2.0, 3.5)


def test_other_files_are_not(searcher, tmp_path):
    other = tmp_path / "other.mp4"
    other.write_bytes(bytes(2560))
    assert find_own_part(searcher, other) is None
    other.write_bytes(b"short")
    assert find_own_part(searcher, other) is None
    assert find_own_part(searcher, tmp_path / "missing.mp4") is None
    assert find_own_part(searcher, tmp_path) is None
