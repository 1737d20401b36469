"""Hashes that indexes and prepared sets have stored are those of today."""

import pytest

from tempme_jax.datasets.base import Video
from tempme_jax.datasets.records import describe_file
from tempme_jax.video.fingerprint import hash_samples, hash_whole
from tempme_jax.video.opening import hold_file


@pytest.mark.parametrize(
    ("size", "samples", "whole", "parts"),
    [
        (
            5,
            "e5e37ea39bc2e3136f92475773618a08",
            "7210b57e5f677f64cf7320ee072f0000b5a0816536162cd1b0b6a12b66f2f5af",
            "68ea68b35a3eec5cb3dc6991b3d8c9e0",
        ),
        (
            100_000,
            "12f4db3a00fa07540d10368e151b66fb",
            "d9cb5f238975fe32401f4cd41774294db3966b9825979a108a0400d1d4be9ce9",
            "9b87b696794ab6daaab002fe71d899fa",
        ),
        (
            3_000_001,
            "5c8a2018200eac530d9ca89ff081927e",
            "c0e3f2828bd4df222196c5e4295f585765e8cddea28bb9d3277e5c2ef48c4157",
            "1710adba11647d80a4580da62a8067f3",
        ),
    ],
)
def test_files_are_known_by_the_same_hashes_as_before(tmp_path, size, samples, whole, parts):
    file = tmp_path / "file"
    file.write_bytes(bytes((i * i * 31 + i // 251) % 256 for i in range(size)))
    with hold_file(str(file)) as held:
        assert (hash_samples(held), hash_whole(held)) == (samples, whole)
    found = describe_file(Video("a", file, ()))
    assert found == {"bytes": size, "samples": parts, "mtime_ns": file.stat().st_mtime_ns}
