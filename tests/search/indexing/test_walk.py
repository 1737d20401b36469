"""What a folder holds is found, whatever it is called, and compared with what is known."""

import os
import socket
import sys
from typing import NamedTuple
from unittest.mock import ANY

import hostile_corpus
import pytest

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.indexing.difference import compare_with_index
from tempme_jax.search.indexing.walk import FoundFile, SkippedPath, find_videos, make_file_id
from tempme_jax.video.frames import VideoError, read_frames


class Row(NamedTuple):
    """What `compare_with_index` looks at of a row of an index."""

    path: bytes
    size: int = 1
    mtime_ns: int = 1
    reason: str = ""
    root: str = "/videos"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return hostile_corpus.write(tmp_path_factory.mktemp("hostile"))


@pytest.fixture
def tree(tmp_path):
    """Makes files in a folder, and gives what is found and skipped there, as names."""

    def make(*names):
        for name in names:
            path = os.path.join(os.fsencode(tmp_path), os.fsencode(name))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "xb"):
                pass
        content = find_videos(tmp_path)
        return [file.path for file in content.found], dict(content.skipped)

    return make


def compare(found, known, *, retry_failed=False, **options):
    options = {"root": "/videos", "retry_failed": retry_failed, **options}
    return compare_with_index([FoundFile(path, 1, 1) for path in found], known, **options)


def test_every_file_of_the_hostile_corpus_is_found_or_skipped(corpus):
    found, skipped = find_videos(corpus.folder)[:2]
    assert [file.path for file in found] == sorted(file.path for file in found)
    reasons = dict(skipped)
    assert (len(reasons), reasons) == (4, {path: corpus.bad[path] for path in reasons})
    assert sorted([*reasons, *(file.path for file in found)]) == sorted({*corpus.good, *corpus.bad})
    for file in found:
        status = os.stat(os.path.join(os.fsencode(corpus.folder), file.path))
        assert (file.size, file.mtime_ns) == (status.st_size, status.st_mtime_ns)


def test_hostile_corpus_is_what_it_says(corpus):
    for file in find_videos(corpus.folder).found:
        path = os.path.join(os.fsencode(corpus.folder), file.path)
        if file.path in corpus.bad:
            with pytest.raises(VideoError) as caught:
                read_frames(path, 4, image_size=32)
            assert corpus.bad[file.path] in caught.value.reason, file.path
        else:
            assert read_frames(path, 4, image_size=32).shape == (4, 32, 32, 3), file.path


def test_only_names_of_videos_count_in_any_case(tree):
    names = ["a.MP4", "b.Mkv", "c.txt", "mp4", "d.mp4.part", "e.mp4.jpg", "f", "g.webm", "h.m2ts"]
    assert tree(*names) == ([b"a.MP4", b"b.Mkv", b"g.webm", b"h.m2ts"], {})


def test_hidden_ones_are_passed_over(tree, tmp_path):
    names = [".tempme/a.mp4", ".Trash/b/c.mp4", "._d.mp4", ".mp4", "e/.f/g.mp4", "e/h.mp4"]
    assert tree(*names) == ([b"e/h.mp4"], {})
    # unless they are asked for by name
    assert find_videos(tmp_path / "e" / ".f").found == [(b"g.mp4", 0, ANY)]


def test_links_within_the_folder(tree, tmp_path):
    tree("a/real.mp4", "data.bin", "notes.txt", ".store/object.mp4")
    links = {"same.mp4": "a/real.mp4", "chain.mkv": "same.mp4", "notes": "notes.txt"}
    links |= {"annexed.mp4": ".store/object.mp4", "blob.mp4": "data.bin"}
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    found, skipped = tree()
    assert found == [b"a/real.mp4"]
    assert skipped.keys() == {b"annexed.mp4", b"blob.mp4"}
    assert all("hidden or has no video's name" in reason for reason in skipped.values())


def test_links_that_lead_nowhere_or_out(tree, tmp_path):
    root = tmp_path / "videos"
    tree("videos/a.mp4", "videos and more/out.mp4")
    links = {"nothing.mp4": "missing.mp4", "nothing.txt": "missing.mp4", "itself.mp4": "itself.mp4"}
    links |= {"out.mp4": "../videos and more/out.mp4", "device.mp4": "/dev/zero"}
    for name, target in (links | {"below_a_file.mp4": "a.mp4/b.mp4"}).items():
        (root / name).symlink_to(target)
    found, skipped = find_videos(root)[:2]
    assert [file.path for file in found] == [b"a.mp4"]
    assert dict(skipped) == {
        b"out.mp4": "a link that leads out of the folder",
        b"device.mp4": "a link that leads out of the folder",
        b"nothing.mp4": "a link to nothing",
        b"below_a_file.mp4": "a link to nothing",
        b"itself.mp4": "a link that cannot be followed (Too many levels of symbolic links)",
    }


def test_loops_of_linked_folders_end(tree, tmp_path):
    tree("a/b/c.mp4")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "b" / "up.mp4").symlink_to("..")
    (tmp_path / ".hidden").symlink_to("a")
    assert tree() == ([b"a/b/c.mp4"], {})


def test_links_to_folders_whose_videos_are_not_found_anyway(tree, tmp_path):
    tree("videos/a/b.mp4", "videos/.store/c.mp4", "videos and more/d.mp4")
    links = {"same": "a", "hidden": ".store", "out": "../videos and more", "out.mp4": "../.."}
    for name, target in links.items():
        (tmp_path / "videos" / name).symlink_to(target)
    found, skipped = find_videos(tmp_path / "videos")[:2]
    assert [file.path for file in found] == [b"a/b.mp4"]
    reason = "a link to a folder; index that folder itself"
    assert dict(skipped) == dict.fromkeys((b"hidden", b"out", b"out.mp4"), reason)


def test_the_folder_may_be_a_link(tree, tmp_path):
    tree("real/a.mp4")
    (tmp_path / "real" / "b.mp4").symlink_to("a.mp4")
    (tmp_path / "link").symlink_to("real")
    assert find_videos(tmp_path / "link") == find_videos(tmp_path / "real")
    assert [file.path for file in find_videos(tmp_path / "link").found] == [b"a.mp4"]


def test_what_is_no_regular_file(tree, tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "fifo.mp4")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link.mp4").symlink_to("fifo.mp4")
    monkeypatch.chdir(tmp_path)  # the address of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.mp4")
    names = (b"fifo.mp4", b"link.mp4", b"socket.mp4")
    assert tree("in.mp4/a.mp4") == ([b"in.mp4/a.mp4"], dict.fromkeys(names, "not a regular file"))


@pytest.fixture
def failing(monkeypatch):
    """Makes listing the folders of a name fail, from some time on."""
    scandir = os.scandir

    def make(name, error, *, after=0):
        calls = []

        def fail(path):
            calls.append(path)
            if len(calls) > after and os.path.basename(path.rstrip(b"/")) == name:
                raise error
            return scandir(path)

        monkeypatch.setattr(os, "scandir", fail)

    return make


def test_folder_that_cannot_be_read(tree, tmp_path, failing):
    tree("open/a.mp4", "shut/b.mp4")
    failing(b"shut", PermissionError(13, "Permission denied"))
    assert tree() == ([b"open/a.mp4"], {b"shut": "cannot be read (Permission denied)"})
    with pytest.raises(VideoIndexError, match=r"shut cannot be read \(Permission denied\); give"):
        find_videos(tmp_path / "shut")


def test_folder_that_goes_away_meanwhile(tree, tmp_path, failing):
    tree("a/b.mp4", "c/d.mp4")
    failing(b"a", FileNotFoundError(2, "No such file"))
    assert tree() == ([b"c/d.mp4"], {})
    failing(os.fsencode(tmp_path.name), FileNotFoundError(2, "No such file"), after=1)
    with pytest.raises(VideoIndexError, match=r"cannot be read \(No such file\); give"):
        tree()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_the_user_may_not_read(tree, tmp_path):
    tree("shut/a.mp4", "listed/b.mp4", "c.mp4")
    modes = {"shut": 0, "listed": 0o400, "c.mp4": 0}
    for name, mode in modes.items():
        (tmp_path / name).chmod(mode)
    try:
        reason = "cannot be read (Permission denied)"
        assert tree() == ([b"c.mp4"], {b"shut": reason, b"listed/b.mp4": reason})
    finally:
        for name in modes:
            (tmp_path / name).chmod(0o700)


@pytest.fixture
def deep(tmp_path, monkeypatch):
    """Makes folders in one another, which no path may be short enough to name, with a file."""
    monkeypatch.chdir(tmp_path)
    made = []

    def make(name, depth):
        for _ in range(depth):
            os.mkdir(name)
            os.chdir(name)
            made.append(name)
        with open("a.mp4", "xb"):
            pass

    yield make
    os.remove("a.mp4")
    for name in made:
        os.chdir("..")
        os.rmdir(name)


def test_folders_deeper_than_python_can_recurse(deep, tmp_path):
    deep("d", sys.getrecursionlimit() + 50)
    found, skipped = find_videos(tmp_path)[:2]
    assert [file.path.count(b"d/") for file in found] == [sys.getrecursionlimit() + 50]
    assert skipped == []


def test_folders_deeper_than_a_path_can_name(deep, tmp_path):
    deep("d" * 250, 20)
    found, skipped = find_videos(tmp_path)[:2]
    reasons = [reason for _, reason in skipped]
    assert (found, reasons) == ([], ["cannot be read (File name too long)"])


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("missing", "missing does not exist; give a folder of videos"),
        ("a.mp4", "a.mp4 is a file, not a folder; give"),
        ("zero\0byte", "zero\ufffdbyte does not exist; give"),
        ("red\x1b[31m", r"red\ufffd\[31m does not exist; give"),
    ],
)
def test_what_is_no_folder_is_refused(tree, tmp_path, name, problem):
    tree("a.mp4")
    with pytest.raises(VideoIndexError, match=problem):
        find_videos(tmp_path / name)


def test_identity_of_a_file_is_its_place():
    assert make_file_id("/videos", b"a/b.mp4") == "bd0d054617fabf7003dfa952"
    places = [("/videos", b"a/b.mp4"), ("/videos/a", b"b.mp4"), ("/videos", b"a/\xff.mp4")]
    ids = [make_file_id(*place) for place in [*places, ("/vid\udcff", b"a"), ("/vid", b"\xffa")]]
    assert len({*ids}) == 5
    assert all(len(id) == 24 and int(id, 16) for id in ids)


def test_new_changed_and_unchanged():
    known = [Row(b"same"), Row(b"grown", size=2), Row(b"touched", mtime_ns=2)]
    difference = compare([b"same", b"grown", b"touched", b"new"], known)
    assert difference.unchanged == [known[0]]
    assert [file.path for file in difference.look_at] == [b"grown", b"touched", b"new"]
    assert difference.failed_before == difference.gone == difference.unseen == []
    assert difference.left_out == []


def test_failed_ones_are_tried_again_if_changed_or_asked():
    known = [Row(b"bad", reason="not a video"), Row(b"mended", size=2, reason="not a video")]
    difference = compare([b"bad", b"mended"], known)
    assert difference.failed_before == [known[0]]
    assert [file.path for file in difference.look_at] == [b"mended"]
    difference = compare([b"bad", b"mended"], known, retry_failed=True)
    assert difference.failed_before == []
    assert [file.path for file in difference.look_at] == [b"bad", b"mended"]


def test_gone_ones_but_not_those_of_other_roots():
    known = [Row(b"a"), Row(b"bad", reason="not a video"), Row(b"a", root="/other")]
    assert compare([], known).gone == known[:2]
    assert compare([], known, root="/other").gone == known[2:]


def test_what_cannot_be_seen_is_not_gone():
    known = [Row(b"shut/a/b.mp4"), Row(b"shutter.mp4"), Row(b"link/c.mp4"), Row(b"file.mp4")]
    skipped = [
        SkippedPath(b"shut", "cannot be read (Permission denied)"),
        SkippedPath(b"link", "a link to a folder; index that folder itself"),
        SkippedPath(b"file.mp4", "cannot be read (Permission denied)"),
    ]
    difference = compare([], known, skipped=skipped)
    assert difference.unseen == [known[0], known[3]]
    assert difference.gone == [known[1], known[2]]
