"""An index where there are no hard links, as on exFAT: it works, or says where to keep it."""

import errno
import os
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.store import lance
from tempme_jax.search.store.locking import advise_other_place
from tempme_jax.search.store.place import check_place, make_write_address
from tempme_jax.search.store.rows import FileRow, WindowRow
from tempme_jax.search.store.store import Store

WIDTH = 8


@pytest.fixture
def no_links(monkeypatch):
    """The package sees no hard links; LanceDB could still make them."""

    def fail(*_, **__):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", fail)


def has_ring(folder):
    try:
        lance.connect(make_write_address(folder)).create_table("a", [{"id": "a"}])
        return True
    except Exception:
        return False


@pytest.fixture(autouse=True)
def needs_ring(tmp_path):
    if not has_ring(tmp_path / "ring"):
        pytest.skip("io_uring is not allowed here")
    yield
    assert not os.path.exists("file+uring:")  # LanceDB would leave it in the current folder


def commit(store, content):
    vector = np.eye(WIDTH, dtype=np.float32)[0]
    store.commit(
        [WindowRow(f"{content}-00000", content, 0.0, 1.0, vector, b"picture")],
        [FileRow(content, "/v", b"a.mp4", 1, 1, content, 1.0, 1)],
    )


def use(folder):
    """All that is done with an index."""
    check_place(folder)
    store = Store.create(folder, {}, ["a"], np.eye(1, WIDTH, dtype=np.float32))
    for content in ("aa", "bb", "cc"):
        commit(store, content)
    store.remove_files(["aa"])
    store.tidy()
    again = Store.open(folder)
    again.prepare(alone=True)
    again.forget(["bb"])
    commit(again, "dd")
    found = Store.open(folder)
    assert [row.id for row in found.read_files()] == ["cc", "dd"]
    assert found.read_contents().keys() == {"cc", "dd"}
    Store.remove(folder)
    assert not Store.exists(folder)


@pytest.mark.parametrize("name", ["plain", "a b#c?d%20", "grüße"])
def test_it_works(tmp_path, no_links, name):
    use(tmp_path / name / ".tempme")
    assert not list((tmp_path / name / ".tempme").glob("*.lance"))


LIBRARY = """
    #include <errno.h>
    #include <stdarg.h>
    #include <dlfcn.h>
    int link(const char *a, const char *b) { errno = EPERM; return -1; }
    int linkat(int a, const char *b, int c, const char *d, int e) { errno = EPERM; return -1; }
    #ifdef NO_RING
    long syscall(long n, ...) {
        va_list given; long a[6];
        va_start(given, n); for (int i = 0; i < 6; i++) a[i] = va_arg(given, long); va_end(given);
        if (n == 425) { errno = EPERM; return -1; }
        long (*real)(long, ...) = dlsym((void *)-1L, "syscall");
        return real(n, a[0], a[1], a[2], a[3], a[4], a[5]);
    }
    #endif
"""


@pytest.fixture
def run_without(tmp_path):
    """Run code in a process whose system has no hard links, and with a flag no ring either."""
    if not (compiler := shutil.which("gcc")) or sys.platform != "linux":
        pytest.skip("needs gcc on Linux")

    def run(code, *flags, count=1):
        (tmp_path / "library.c").write_text(textwrap.dedent(LIBRARY))
        command = [compiler, "-shared", "-fPIC", *flags, "-o", "library.so", "library.c", "-ldl"]
        subprocess.run(command, cwd=tmp_path, check=True)
        given = {
            "LD_PRELOAD": str(tmp_path / "library.so"),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        code = "from test_no_hard_links import *\n" + textwrap.dedent(code)
        given["PYTHONPATH"] += os.pathsep + os.path.dirname(__file__)
        started = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(tmp_path / "index"), str(number)],
                env=os.environ | given, stdout=subprocess.PIPE, text=True,
            )
            for number in range(count)
        ]  # fmt: skip
        return [(process.communicate()[0], process.returncode) for process in started]

    return run


def test_it_works_where_the_system_refuses_links(run_without):
    assert run_without("use(sys.argv[1])") == [("", 0)]


def test_processes_that_write_at_once_lose_nothing(run_without, tmp_path):
    Store.create(tmp_path / "index", {}, ["a"], np.eye(1, WIDTH, dtype=np.float32))
    code = """
        store = Store.open(sys.argv[1])
        for number in range(3):
            commit(store, f"{sys.argv[2]}{number}")
    """
    assert run_without(code, count=2) == [("", 0)] * 2
    ids = {f"{one}{number}" for one in range(2) for number in range(3)}
    store = Store.open(tmp_path / "index")
    assert {row.id for row in store.read_files()} == store.read_contents().keys() == ids


def test_where_that_fails_the_error_names_another_place(run_without, tmp_path):
    code = """
        try:
            check_place(sys.argv[1])
        except VideoIndexError as error:
            print(error)
    """
    [(said, _)] = run_without(code, "-DNO_RING")
    assert f"no index can be kept in {tmp_path / 'index'}: its file system has no hard" in said
    assert "`tempme index FOLDER --index ~/videos.tempme`" in said
    assert [path.name for path in (tmp_path / "index").iterdir()] == ["lock-create"]


def test_the_commands_name_the_folder_of_the_videos(tmp_path):
    said = advise_other_place(tmp_path / "my films" / ".tempme")
    assert f"`tempme index '{tmp_path}/my films' --index ~/'my films.tempme'`" in said
    assert "`tempme serve --index ~/'my films.tempme'`" in said


def test_a_place_that_cannot_be_written_is_found_before_long_work(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(VideoIndexError, match="cannot be locked .Not a directory.; .*--index"):
        check_place(tmp_path / "file" / "index")
    with pytest.raises(VideoIndexError, match="cannot be locked .File name too long"):
        check_place(tmp_path / ("a" * 300))
    check_place("s3://bucket/index")
