"""A toy model, tiny videos, and what an index of them holds, for tests of searching."""

import functools
import os
import struct
import tempfile
from pathlib import Path

from video_files import write_grey_video

import tempme_jax
from tempme_jax.search.index import VideoIndex
from tempme_jax.search.indexing import probe, reading, subtitles
from tempme_jax.video import fingerprint, workers
from tempme_jax.video.container import VideoError
from tempme_jax.video.subtitles import read_subtitles

SIDE, FRAMES = 16, 4
SIZES = dict(
    embed_dim=16, image_size=SIDE, patch=8, width=16, depth=2, heads=2,
    text_width=16, text_depth=1, text_heads=2, vocab_size=2048,
)  # fmt: skip
OPTIONS = {"tempme": dict(layers=(0, 1), groups=(2, 2), r=1, position_std=0.2), "clip": {}}
# Of 15.3 seconds: windows of 4 frames, one a second, that overlap by 2.
LONG = [(start, min(start + 4, 15.3)) for start in range(0, 13, 2)]


@functools.cache
def make_model(method="tempme", seed=0):
    """Make a model of random weights."""
    options = OPTIONS[method]
    return tempme_jax.create(
        method=method, num_frames=FRAMES, method_options=options, seed=seed, **SIZES
    )


@functools.cache
def read_film(name):
    """Return the bytes of a video: "long" has seven windows, others one, each of its own length."""
    long = name == "long"
    times = range(0, 160, 8) if long else range(int(name) + 3)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        file = write_grey_video(path, times, size=(SIDE, 20), preset="ultrafast")
        return file.read_bytes()


def write_films(folder, names):
    """Write films: a dictionary of file names and names of films."""
    for name, of_film in names.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(read_film(of_film))
    return folder


def write_large_film(file, name, filling=b"\0"):
    """Write a film that is too large to be hashed whole when it is first seen."""
    film, rest = read_film(name), filling * (2 * fingerprint.WHOLE // len(filling))
    file.write_bytes(film + struct.pack(">I4s", len(rest) + 8, b"free") + rest)
    return file


def patch_unsampled(file, data=b"x"):
    """Change some bytes in the middle that are in no sample, and keep the size."""
    samples = fingerprint.choose_samples(file.stat().st_size)
    start = sum(samples[1]) + 7
    assert start + len(data) < samples[2][0]
    with file.open("r+b") as opened:
        opened.seek(start)
        opened.write(data)
    return file


def make_toy_index(folder, **options):
    """Index a folder."""
    index = VideoIndex(folder, model=make_model(), **options)
    index.add(folder, quiet=True)
    return index


def list_files(index):
    """Return the rows of all files of an index, by name, without times."""
    rows = index.store.read_files()
    return {os.fsdecode(row.path): row._replace(mtime_ns=0) for row in rows}


def list_windows(index):
    """Return all windows of an index, to the last bit, by their ids; none may be there twice."""
    rows = list(index.store.scan())
    found = {row.id: (row.start, row.end, row.vector.tobytes(), row.thumbnail) for row in rows}
    assert len(found) == len(rows)
    return found


def decode_here(monkeypatch):
    """Decode in this process, which saves starting others.

    Returns a list that collects what is done: pairs of a function's name and a file's name. That
    files are looked into for subtitles is left out.
    """
    done = []

    def decode_all(requests, *, decode, **_):
        for request in requests:
            name = decode.__name__
            if decode is reading.work_on:
                name = "scan_file" if isinstance(request, probe.Source) else "read_chunk"
            if decode is not read_subtitles:
                done.append((name, os.path.basename(request.file)))
            try:
                yield request, decode(request)
            except VideoError as error:
                yield request, error

    for module in (workers, probe, reading, subtitles):
        monkeypatch.setattr(module, "decode_all", decode_all)
    return done


def list_opened(done):
    """List the files that were probed."""
    return sorted(name for what, name in done if what == "probe_file")


def list_decoded(done):
    """List the files whose frames were decoded."""
    return sorted({name for what, name in done if what == "read_chunk"})
