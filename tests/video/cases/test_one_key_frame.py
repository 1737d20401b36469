"""A long video with one key frame is decoded once, not from its start for every piece."""

import numpy as np
from video_files import H264, find_shown_index, write_grey_video

from tempme_jax.search.indexing import reading, schedule
from tempme_jax.search.indexing.probe import Source
from tempme_jax.search.indexing.reading import read_windows
from tempme_jax.search.indexing.schedule import Chunk, Piece, Schedule
from tempme_jax.video.decoding import FrameReader
from tempme_jax.video.windows import Sampling

SAMPLING = Sampling(frames=2, fps=5, overlap=0.5)


def read_here(path):
    """Read a video as `read_windows` does, without other processes."""
    source = Source(key="a", file=str(path))
    plan = Schedule([source], SAMPLING, 48, scanners=1, decoders=1)
    pieces, lanes = [], set()
    for request in plan.choose_requests():
        pieces += plan.take_result(request, reading.work_on(request))
        if isinstance(request, Chunk):
            lanes.add(request.lane)
    return pieces, lanes


def test_each_frame_is_decoded_once(tmp_path, monkeypatch):
    monkeypatch.setattr(schedule, "WINDOWS_PER_PIECE", 3)
    decoded = []
    decode = FrameReader._decode

    def count_frames(*args):
        for frame in decode(*args):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(FrameReader, "_decode", count_frames)
    many = write_grey_video(tmp_path / "many.mp4", range(50), **H264 | {"g": "5"})
    one = write_grey_video(tmp_path / "one.mp4", range(50), **H264 | {"g": "999"})
    expected, lanes = read_here(many)
    assert lanes == {None}
    assert len(expected) == 8
    decoded.clear()
    pieces, lanes = read_here(one)
    assert len(lanes) == 1 and None not in lanes
    assert sorted(decoded) == sorted(set(decoded))
    assert [piece.spans for piece in pieces] == [piece.spans for piece in expected]
    for piece, other in zip(pieces, expected, strict=True):
        shown = [[find_shown_index(frame) for frame in window] for window in piece.frames]
        assert shown == [[find_shown_index(frame) for frame in window] for window in other.frames]


def test_one_process_decodes_all_pieces_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(schedule, "WINDOWS_PER_PIECE", 3)
    path = write_grey_video(tmp_path / "one.mp4", range(50), **H264 | {"g": "999"})
    sources = [Source(key=key, file=str(path)) for key in "ab"]
    pieces = list(read_windows(sources, SAMPLING, image_size=48, workers=2))
    assert all(isinstance(piece, Piece) for piece in pieces)
    for key in "ab":
        frames = np.concatenate([piece.frames for piece in pieces if piece.key == key])
        shown = [[find_shown_index(frame) for frame in window] for window in frames]
        assert shown == [[2 * i + 1, 2 * i + 3] for i in range(24)]
