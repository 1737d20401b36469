"""A program that trains starts again with large pages, once, where there are any."""

import os
import subprocess
import sys

import pytest

from tempme_jax import large_pages

PROGRAM = """
import os, sys
from tempme_jax import large_pages
large_pages.can_request_large_pages = lambda: True
large_pages.restart_with_large_pages()
print(os.environ["GLIBC_TUNABLES"], *sys.argv[1:])
"""


def start(**environment):
    command = [sys.executable, "-c", PROGRAM, "--config=a b", "7"]
    environment = {k: v for k, v in os.environ.items() if k != large_pages.VARIABLE} | environment
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc has this setting")
def test_a_program_starts_again_with_its_own_arguments():
    assert start().stdout == "glibc.malloc.hugetlb=1 --config=a b 7\n"
    chosen = "glibc.malloc.arena_max=1"
    assert start(GLIBC_TUNABLES=chosen).stdout.startswith(f"{chosen}:glibc.malloc.hugetlb=1 ")
    assert start(GLIBC_TUNABLES="glibc.malloc.hugetlb=0").stdout.startswith(
        "glibc.malloc.hugetlb=0 "
    )


@pytest.mark.parametrize(
    ("library", "setting", "expected"),
    [
        (("glibc", "2.36"), "always [madvise] never", True),
        (("glibc", "2.34"), "always [madvise] never", False),
        (("glibc", "2.36"), "[always] madvise never", False),
        (("", ""), "always [madvise] never", False),
        (("glibc", "2.36"), None, False),
    ],
)
def test_large_pages_are_requested_where_that_has_an_effect(
    tmp_path, monkeypatch, library, setting, expected
):
    monkeypatch.setattr(large_pages.platform, "libc_ver", lambda: library)
    monkeypatch.setattr(large_pages, "SETTING", tmp_path / "enabled")
    if setting:
        (tmp_path / "enabled").write_text(setting)
    assert large_pages.can_request_large_pages() == expected
