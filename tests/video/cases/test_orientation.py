"""All frames are turned alike where only the first frame or key frames tell how."""

import av
import numpy as np
import pytest
from pixel_files import add_frames, copy_filtered, draw_quadrants, pick_corners, write_pixels

from tempme_jax.video.frames import read_at, read_frames

TURN = "h264_metadata=display_orientation=insert:rotate=90"


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_message_of_the_codec(tmp_path, name):
    options = {"g": "10", "sc_threshold": "0"}
    source = write_pixels(tmp_path / "source.mp4", [draw_quadrants()] * 60, **options)
    path = copy_filtered(source, tmp_path / name, TURN)
    expected = pick_corners(np.rot90(draw_quadrants()))
    every = list(read_frames(path, 60))
    late = list(read_at(path, lambda length: [length * 9 / 10])[0])  # read after a seek
    few = list(read_frames(path, 4))
    for frame in every + late + few:
        assert frame.shape == (192, 96, 3)
        assert np.abs(pick_corners(frame) - expected).max() < 6


def test_turn_within_a_stream(tmp_path):
    plain = write_pixels(tmp_path / "a.ts", [draw_quadrants(96, 96)] * 20)
    turned = copy_filtered(plain, tmp_path / "b.ts", TURN)
    path = tmp_path / "both.ts"
    path.write_bytes(plain.read_bytes() + turned.read_bytes())
    upright = draw_quadrants(96, 96)
    for picture, frame in zip([upright, np.rot90(upright)], read_frames(path, 2), strict=True):
        assert np.abs(pick_corners(frame) - pick_corners(picture)).max() < 6


@pytest.mark.parametrize("times", [0, 2])
def test_matrix_that_only_scales_is_left_out(tmp_path, times):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.set_display_matrix([times * 65536, 0, 0, 0, times * 65536, 0, 0, 0, 2**30])
        add_frames(container, stream, [draw_quadrants()])
    frame = read_frames(tmp_path / "a.mp4", 1)[0]
    assert np.abs(pick_corners(frame) - pick_corners(draw_quadrants())).max() < 6


def test_other_angles_lie_on_black(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.set_display_rotation(30)
        add_frames(container, stream, [draw_quadrants()])
    frame = read_frames(tmp_path / "a.mp4", 1)[0]
    assert frame.shape == (96, 192, 3)
    assert frame[2, 2].max() == frame[-3, -3].max() == 0
    assert frame[48, 40, 0] > 200  # anticlockwise, as ffmpeg
    assert frame[48, 152].min() > 200
