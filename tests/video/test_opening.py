"""A file is opened once, below a folder, without links; what is read is what was opened."""

import os

import pytest
from video_files import write_grey_video

from tempme_jax.video import opening
from tempme_jax.video.container import open_video
from tempme_jax.video.errors import VideoError
from tempme_jax.video.opening import FileState, find_held, hold_file
from tempme_jax.video.timeline import scan


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "root"
    (folder / "in").mkdir(parents=True)
    write_grey_video(folder / "in" / "a.mp4")
    return folder


def read(path, root=None, **options):
    with hold_file(str(path), root=str(root) if root else None, **options):
        return len(scan(str(path)).times)


def refuse(path, root=None, **options):
    with pytest.raises(VideoError) as caught:
        read(path, root, **options)
    return caught.value.reason


def test_links_below_the_folder_are_not_followed(root, tmp_path):
    film = root / "in" / "a.mp4"
    assert read(film, root) == read(film) == 9
    (root / "link.mp4").symlink_to(film)
    (root / "linked").symlink_to(root / "in")
    (tmp_path / "also").symlink_to(root)
    for path in (root / "link.mp4", root / "linked" / "a.mp4"):
        assert refuse(path, root) == opening.LINKED
        assert read(path) == 9  # of one's own, they are
    assert read(tmp_path / "also" / "in" / "a.mp4", tmp_path / "also") == 9


@pytest.mark.parametrize(
    "name, reason",
    [
        ("pipe.mp4", opening.IRREGULAR),
        ("in", opening.IRREGULAR),
        ("none.mp4", opening.MISSING),
        ("none/a.mp4", opening.MISSING),
        ("in/a.mp4/b.mp4", opening.MISSING),
        ("../other.mp4", opening.OUTSIDE),
        ("..", opening.OUTSIDE),
        ("in/a\0.mp4", opening.MISSING),
    ],
)
def test_what_is_no_file_in_the_folder(root, name, reason):
    os.mkfifo(root / "pipe.mp4")
    (root.parent / "other.mp4").write_bytes((root / "in" / "a.mp4").read_bytes())
    assert refuse(f"{root}/{name}", root) == reason


def test_a_file_that_is_replaced_stays_the_one_that_was_opened(root, tmp_path):
    film = root / "in" / "a.mp4"
    other = write_grey_video(tmp_path / "other.mp4", range(4))
    with hold_file(str(film), root=str(root)):
        film.unlink()
        film.symlink_to(other)
        assert len(scan(str(film)).times) == 9
        assert find_held(str(other)) is None
    assert refuse(film, root) == opening.LINKED


def test_a_file_that_changes_meanwhile(root):
    film = root / "in" / "a.mp4"
    status = film.stat()
    state = FileState(status.st_size, status.st_mtime_ns)
    assert read(film, root, state=state) == 9
    for change in (
        lambda: os.truncate(film, state.size - 1),
        lambda: os.utime(film, ns=(1, 1)),
        lambda: film.write_bytes(b"x"),
    ):
        with pytest.raises(VideoError, match="changed while it was read"):
            with hold_file(str(film), root=str(root)):
                change()
                raise VideoError(str(film), "whatever came of it")
    assert refuse(film, root, state=state) == opening.CHANGED


@pytest.mark.parametrize(
    "first, second, same",
    [
        (1234567890_123456789, 1234567890_123456789, True),
        (1234567890_123456789, 1234567890_123456700, True),  # 100 ns
        (1234567891_123456789, 1234567890_000000000, True),  # 2 s
        (1234567890_123456789, 1234567890_123456788, False),
        (1234567890_123456789, 1234567892_000000000, False),
        (0, 0, True),
        (-1, 0, False),
        (1, 0, True),
    ],
)
def test_times_may_be_cut_by_a_file_system(first, second, same):
    for pair in ((first, second), (second, first)):
        assert FileState(5, pair[0]).agrees(FileState(5, pair[1])) == same
    assert not FileState(5, first).agrees(FileState(6, first))


@pytest.mark.parametrize("suffix", ["avi", "mkv", "flv"])
def test_a_large_hole_is_not_read_for_hours(root, suffix, monkeypatch):
    monkeypatch.setattr(opening, "MOST_ZEROS", 2**22)
    film = write_grey_video(
        root / f"hole.{suffix}", codec="mpeg4" if suffix == "avi" else "libx264"
    )
    os.truncate(film, 50 * 2**30)
    reason = refuse(film, root)
    assert "GiB of zeros in a row, in which there is no frame; a sparse file: only " in reason
    assert "of its 53,687.1 MB are on the disk, as of a download that is not complete" in reason


def test_a_file_of_holes_only(root):
    film = root / "hole.mp4"
    film.touch()
    os.truncate(film, 2**30)
    assert "a sparse file: only 0.0 of its 1,073.7 MB" in refuse(film, root)


def test_a_held_file_opens_no_other(root, tmp_path):
    """Play lists are no videos, and libav may use no protocol at all."""
    film = root / "list.mp4"
    film.write_text(f"ffconcat version 1.0\nfile '{root}/in/a.mp4'\n")
    assert refuse(film, root).startswith("not a video")
    with hold_file(str(root / "in" / "a.mp4")), open_video(str(root / "in" / "a.mp4")) as opened:
        assert opened.name == str(root / "in" / "a.mp4")
