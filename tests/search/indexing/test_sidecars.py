"""Which files of subtitles belong to which videos, by their names."""

import pytest

from tempme_jax.search.indexing.sidecars import match_names
from tempme_jax.search.indexing.walk import FoundFile, find_videos

VIDEOS = [b"film.mp4", b"film.mkv", b"Part.2.mp4", b"Part.mp4", b"deep/other.mov"]


def match(text):
    videos = [FoundFile(path, 1, 1) for path in VIDEOS]
    return {video.path for video, _ in match_names(videos, [FoundFile(text, 1, 1)])}


@pytest.mark.parametrize(
    "text, videos",
    [
        (b"film.srt", {b"film.mp4", b"film.mkv"}),
        (b"FILM.en.SRT", {b"film.mp4", b"film.mkv"}),
        (b"film.pt-BR.forced.vtt", {b"film.mp4", b"film.mkv"}),
        (b"film.mp4.srt", {b"film.mp4", b"film.mkv"}),
        (b"Part.2.ass", {b"Part.2.mp4"}),
        (b"Part.2.en.ass", {b"Part.2.mp4"}),
        (b"Part.3.ass", set()),
        (b"Part.en.ass", {b"Part.mp4"}),
        (b"film 2.srt", set()),
        (b"deep/film.srt", set()),
        (b"deep/other.en.srt", {b"deep/other.mov"}),
        (b".srt", set()),
        (b"\xff.srt", set()),
    ],
)
def test_names(text, videos):
    assert match(text) == videos


def test_a_folder_pairs_what_is_there(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("film.mp4", "film.en.srt", "alone.srt", "deep/film.srt", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "film.de.srt").symlink_to(tmp_path / "film.en.srt")
    content = find_videos(tmp_path)
    pairs = [(video.path, text.path) for video, text in content.subtitles]
    assert pairs == [(b"film.mp4", b"film.en.srt")]
    assert content.passed_over == {".srt": 3, ".txt": 1}
    assert find_videos(tmp_path, ["*.srt"]).subtitles == []
