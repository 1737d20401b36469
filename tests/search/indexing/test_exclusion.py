"""Folders of other programs, hidden files, and what a user excludes are left out, and said."""

import os

import pytest

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.indexing.difference import compare_with_index
from tempme_jax.search.indexing.exclusion import Exclusion
from tempme_jax.search.indexing.walk import find_videos
from tempme_jax.search.store.rows import FileRow


@pytest.fixture
def tree(tmp_path):
    """Makes empty files, or of a text, and gives what is found and left out."""

    def make(*names, exclude=(), **texts):
        for name in names:
            path = os.path.join(os.fsencode(tmp_path), os.fsencode(name))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            open(path, "ab").close()
        for name, text in texts.items():
            (tmp_path / name.replace("__", "/") / ".tempmeignore").write_bytes(text)
        content = find_videos(tmp_path, exclude)
        return [file.path for file in content.found], dict(content.left_out)

    return make


def test_folders_of_other_programs(tree):
    names = {
        "@eaDir": "@eaDir", "a/#recycle": "#recycle", "$Recycle.bin": "$RECYCLE.BIN",
        "System Volume Information": "System Volume Information", "lost+found": "lost+found",
        ".Trash-1000": ".Trash*", ".Trashes": ".Trash*", ".@__thumb": ".@__thumb",
        "@Recently-Snapshot": "@Recently-Snapshot", "#snapshot": "#snapshot", ".git": ".git",
        "__MACOSX": "__MACOSX", "node_modules": "node_modules", ".mine": "hidden",
    }  # fmt: skip
    found, left_out = tree(*[f"{name}/b/c.mp4" for name in names], "d.mp4", "#recycled.mp4")
    assert found == [b"#recycled.mp4", b"d.mp4"]
    assert left_out == {os.fsencode(name): label for name, label in names.items()}


def test_hidden_files_are_said_if_they_look_like_videos(tree):
    assert tree("._a.mp4", ".trashed-17-b.mp4", ".DS_Store", ".tempme/c.mp4") == (
        [],
        {b"._a.mp4": "hidden", b".trashed-17-b.mp4": ".Trash*"},
    )


def test_folders_that_are_not_for_the_gallery(tree, tmp_path):
    names = ["a/.nomedia", "a/b/c.mp4", "d/e.mp4", ".nomedia"]
    assert tree(*names) == ([b"d/e.mp4"], {b"a": "with .nomedia"})
    # unless they are asked for by name
    assert tree(exclude=["!a/"]) == ([b"a/b/c.mp4", b"d/e.mp4"], {})
    assert [file.path for file in find_videos(tmp_path / "a").found] == [b"b/c.mp4"]


def test_patterns_are_those_of_gitignore(tree):
    names = ["a.mp4", "A.MP4", "two words.mp4", "s/b.mp4", "s/keep/c.mp4", "t/b.mp4", "#d.mp4"]
    assert tree(*names, exclude=["A.MP4", "two words.mp4", "#d.mp4", "/s/*", "!keep/"]) == (
        [b"a.mp4", b"s/keep/c.mp4", b"t/b.mp4"],
        dict.fromkeys((b"A.MP4", b"two words.mp4", b"#d.mp4", b"s/b.mp4"), "by --exclude"),
    )
    assert tree(exclude=["b.mp4", "!t/b.mp4", "[aA].*"])[0] == [
        b"#d.mp4", b"s/keep/c.mp4", b"t/b.mp4", b"two words.mp4",
    ]  # fmt: skip
    # A folder that is excluded is not entered, so nothing in it can be taken again.
    assert tree(exclude=["s/", "!s/b.mp4"])[1] == {b"s": "by --exclude"}
    # That a folder is taken says nothing of the files in it.
    assert tree(exclude=["*.mp4", "!t/"])[0] == [b"A.MP4"]


def test_names_that_are_no_text(tree):
    names = [b"\xff.mp4", b"two\nlines.mp4", b"-x.mp4", b"end .mp4", b"a \xff/b.mp4"]
    found, left_out = tree(*names, exclude=["*.mp4"])
    assert (found, len(left_out)) == ([], 5)
    assert tree(exclude=["end .mp4", "-x.mp4", "two?lines.mp4"])[0] == [
        b"a \xff/b.mp4",
        b"\xff.mp4",
    ]


def test_ignore_files_hold_for_their_folder(tree):
    names = ["a/b.mp4", "a/c/b.mp4", "b.mp4", "c.avi", "a/c/d.avi"]
    patterns = b"\xef\xbb\xbf# films\r\n\r\n*.avi\r\n"
    found, left_out = tree(*names, a=b"b.mp4\n!d.avi\n", **{"": patterns})
    assert found == [b"a/c/d.avi", b"b.mp4"]
    assert left_out == dict.fromkeys((b"a/b.mp4", b"a/c/b.mp4", b"c.avi"), "by .tempmeignore")
    # The command line goes before files.
    assert tree(exclude=["!c.avi", "/b.mp4"])[0] == [b"a/c/d.avi", b"c.avi"]


def test_only_a_name_takes_what_is_left_out_anyway(tree):
    names = ["._a.mp4", "@eaDir/a.mp4", ".mine/a.mp4", ".mine/._b.mp4", ".tempme/a.mp4"]
    assert tree(*names, exclude=["*", "!*.mp4", "!*/"])[0] == []
    assert tree(exclude=["!@eaDir/", "!.mine", "!.tempme/"])[0] == [b".mine/a.mp4", b"@eaDir/a.mp4"]


def test_patterns_without_effect_are_told(tree, tmp_path):
    tree("a/b.mp4")
    patterns = ["a/", "./a", str(tmp_path / "a"), "nothing"]
    assert find_videos(tmp_path, patterns).unused == patterns[1:]


@pytest.mark.parametrize("pattern", ["", "  ", "!", "a\\"])
def test_what_is_no_pattern(pattern):
    with pytest.raises(VideoIndexError, match="pattern"):
        Exclusion([pattern])


def test_ignore_files_that_cannot_be_used(tree, tmp_path):
    with pytest.raises(VideoIndexError, match=r"\.tempmeignore, line 2: '!' is not a pattern"):
        tree("a/b.mp4", a=b"# none\n!\n")
    with pytest.raises(VideoIndexError, match="is not a list of patterns"):
        tree(a=b"\0" * 9)
    ignore = tmp_path / "a" / ".tempmeignore"
    ignore.unlink()
    for make in (os.mkfifo, os.mkdir, lambda path: os.symlink("b.mp4", path)):
        make(ignore)
        with pytest.raises(VideoIndexError, match="is not a regular file"):
            tree()
        ignore.rmdir() if ignore.is_dir() else ignore.unlink()


def test_small_copies_of_cameras(tree):
    names = ["GX010001.MP4", "GL010001.LRV", "GL020002.LRV", "d/DJI_1.MP4", "d/DJI_1.LRF"]
    names += ["d/GL010001.LRV", "e/DJI_1.LRF", "GOPR3.MP4", "GOPR3.LRV"]
    found, left_out = tree(*names)
    assert [path for path in found if not path.endswith(b"MP4")] == [
        b"GL020002.LRV", b"d/GL010001.LRV", b"e/DJI_1.LRF",
    ]  # fmt: skip
    assert left_out == dict.fromkeys(
        (b"GL010001.LRV", b"GOPR3.LRV", b"d/DJI_1.LRF"), "with a larger copy beside"
    )


def test_other_files_are_counted_by_suffix(tmp_path):
    for name in ("a.part", "b.PART", "c.jpg", "README", "d.mp4", ".e", "f.not a suffix at all"):
        (tmp_path / name).touch()
    assert find_videos(tmp_path).passed_over == {".part": 2, ".jpg": 1, "without suffix": 2}


def test_indexed_files_that_are_left_out_now_are_not_gone(tree, tmp_path):
    tree("@eaDir/a.mp4", "b.mp4", "c/d.mp4")
    content = find_videos(tmp_path, ["c/", "e.mp4"])
    names = (b"@eaDir/a.mp4", b"c/d.mp4", b"e.mp4")
    known = [FileRow(name.hex(), "..", name, 0, 0) for name in names]
    difference = compare_with_index(
        content.found, known, root="..", retry_failed=False, left_out=content.left_out
    )
    assert difference.left_out == known[:2]
    assert difference.gone == known[2:]
