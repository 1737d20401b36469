"""An indexed video is read only as it was indexed; of copies, any that is there will do."""

import contextlib
import os
import types

import pytest
from video_files import write_grey_video

from tempme_jax.search.saving.cutting import Cut, SavedPart, save_parts
from tempme_jax.search.store.rows import FileRow
from tempme_jax.search.videos import IndexVideos
from tempme_jax.video.container import VideoError


@pytest.fixture
def index(tmp_path):
    """An index of a video and of a copy of it, and of a file that is gone."""
    for name in ("a.mp4", "copy.mp4"):
        write_grey_video(tmp_path / name, range(20))
    rows = {}
    for name, content in {"a.mp4": "aa", "copy.mp4": "aa", "gone.mp4": "bb"}.items():
        path = tmp_path / name
        status = os.stat(path if path.exists() else tmp_path)
        rows[name] = FileRow(
            name, "..", name.encode(), status.st_size, status.st_mtime_ns, content, 2.0, 1
        )
    index = IndexVideos()
    index.uri = str(tmp_path / ".tempme")
    index._state = types.SimpleNamespace(get_searcher=lambda: types.SimpleNamespace(files=rows))
    return index


def test_a_part_of_an_indexed_video(index, tmp_path):
    assert index.locate("a.mp4").file == tmp_path / "a.mp4"
    with pytest.raises(TypeError, match="start='0' must be a number of seconds"):
        index.save_part("a.mp4", "0", 1, tmp_path / "part.mp4")
    with pytest.raises(ValueError, match="copy.mp4 is a video of the index"):
        index.save_part("a.mp4", 0, 1, tmp_path / "copy.mp4")
    saved = index.locate("copy.mp4")
    assert (saved.file, saved.root) == (tmp_path / "copy.mp4", tmp_path)
    (tmp_path / "a.mp4").write_bytes(b"other")
    assert index.locate("a.mp4").file == tmp_path / "copy.mp4"
    (tmp_path / "copy.mp4").unlink()
    with pytest.raises(VideoError, match="a.mp4: has changed since it was indexed"):
        index.save_part("a.mp4", 0, 1, tmp_path / "part.mp4")
    with pytest.raises(VideoError, match="gone.mp4: is gone"):
        index.locate("gone.mp4")
    with pytest.raises(KeyError):
        index.locate("unknown")
    assert not (tmp_path / "part.mp4").exists()


def test_a_link_that_leads_out_is_not_followed(index, tmp_path, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "a.mp4"
    os.rename(tmp_path / "a.mp4", outside)
    (tmp_path / "copy.mp4").unlink()
    (tmp_path / "a.mp4").symlink_to(outside)
    with pytest.raises(VideoError, match="is gone"):
        index.locate("a.mp4")


@pytest.mark.slow
def test_in_child_processes(index, tmp_path):
    file, root, state = index.locate("a.mp4")
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    cuts = [
        Cut(file=str(each), start=0.5, end=1.5, root=str(root), state=known, is_piece=is_piece)
        for each, known, is_piece in [(file, state, False), (tmp_path / "bad.mp4", None, False),
                                      (file, state, True)]
    ]  # fmt: skip
    jobs = [(cut, tmp_path / f"{number}_part.mp4") for number, cut in enumerate(cuts)]
    with contextlib.closing(save_parts(jobs)) as saved:
        first, bad, piece = saved
    assert isinstance(first, SavedPart) and first.copied and first.file.is_file()
    assert isinstance(bad, VideoError) and not piece.copied and piece.size == (64, 48)
    assert index.save_part("a.mp4", 0.5, 1.5, tmp_path / "again.mp4", most_side=32).size == (32, 24)
    names = {"a.mp4", "copy.mp4", "bad.mp4", "0_part.mp4", "2_part.mp4", "again.mp4"}
    assert set(os.listdir(tmp_path)) == names
