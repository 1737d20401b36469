"""Nothing of a forgotten folder stays on the disk, however often `--forget` was interrupted."""

import shutil

import pytest
import toy_index
from toy_index import list_files, list_windows, write_films

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.index import VideoIndex
from tempme_jax.search.store.tables import Tables

PRIVATE = "private holiday.mp4"


@pytest.fixture(autouse=True)
def done(monkeypatch):
    return toy_index.decode_here(monkeypatch)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An index of two folders, to be copied; most of it is of the one that stays."""
    top = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        toy_index.decode_here(patch)
        index = VideoIndex(top / "index", model=toy_index.make_model())
        index.add(write_films(top / "kept", {f"{i}.mp4": str(i) for i in range(12)}), quiet=True)
        index.add(write_films(top / "gone", {PRIVATE: "30", "copy.mp4": "3"}), quiet=True)
    return top


@pytest.fixture
def top(made, tmp_path):
    """A copy; the roots of its files are the folders of `made`."""
    shutil.copytree(made / "index", tmp_path / "index")
    return tmp_path


def find_traces(top, secrets):
    """The files of the index that hold one of some bytes."""
    files = [path for path in (top / "index").rglob("*") if path.is_file()]
    return [path for path in files if any(secret in path.read_bytes() for secret in secrets)]


def read_secrets(index):
    """Picture, name and vector of the private video."""
    content = list_files(index)[PRIVATE].content
    vector, picture = list_windows(index)[f"{content}-00000"][2:]
    return [picture, PRIVATE.encode(), vector, content.encode()]


def test_nothing_stays(made, top):
    index = VideoIndex(top / "index", model=toy_index.make_model())
    secrets, before = read_secrets(index), list_windows(index)
    assert len(find_traces(top, secrets)) > 1
    reader = VideoIndex(top / "index", model=toy_index.make_model())
    whole = reader.search("a cat", 20).moments
    assert index.forget(made / "gone") == 2
    assert find_traces(top, secrets) == []
    assert len(list_windows(index)) == len(before) - 1  # the copy's window is that of another file
    # A reader of the version before sees the state after.
    assert len(whole) == 13
    kept = next(one for one in whole if one.file.is_relative_to(made / "kept"))
    assert reader.thumbnail(kept.window).startswith(b"\xff\xd8")
    reader.refresh()
    assert len(reader.search("a cat", 20).moments) == 12
    assert not reader.search("a cat").notice
    assert index.verify(quiet=True).is_clean


SEAMS = {
    "before anything": (Tables, "write", 0),
    "after the files": (Tables, "write", 1),
    "before the tables are rewritten": (Tables, "purge", 0),
    "after one table was rewritten": (Tables, "_overwrite", 1),
}


@pytest.mark.parametrize("seam", SEAMS)
@pytest.mark.parametrize("finish", ["forget", "index", "verify"])
def test_what_was_interrupted_is_finished(made, top, seam, finish, monkeypatch):
    index = VideoIndex(top / "index", model=toy_index.make_model())
    secrets = read_secrets(index)
    owner, name, calls = SEAMS[seam]
    original, done = getattr(owner, name), []

    def stop(*given):
        done.append(1)
        if len(done) > calls:
            raise KeyboardInterrupt
        return original(*given)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, stop)
        with pytest.raises(KeyboardInterrupt):
            index.forget(made / "gone")
    again = VideoIndex(top / "index", model=toy_index.make_model())
    if finish == "forget" or seam == "before anything":
        again.forget(made / "gone")
    elif finish == "index":
        again.add(made / "kept", quiet=True)
    else:
        again.verify(quiet=True)
    assert find_traces(top, secrets) == []
    assert list_files(again).keys() == {f"{i}.mp4" for i in range(12)}
    with pytest.raises(VideoIndexError, match="is not in the index"):
        again.forget(made / "gone")
