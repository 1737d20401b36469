"""Why the pixels of a file are not those that version 1 of the reading showed."""

import pytest
from pixel_files import copy_filtered, draw_quadrants, signal_hdr, write_pixels

from tempme_jax.video.changes import list_changes
from tempme_jax.video.hdr import PQ


def test_plain_videos_have_none(tmp_path):
    for name in ("a.mp4", "a.mkv", "a.ts"):
        assert list_changes(write_pixels(tmp_path / name, [draw_quadrants()] * 12)) == []


@pytest.mark.parametrize(
    ("reason", "name", "options"),
    [
        ("pixels are not square", "a.mkv", {"aspect": 2}),
        ("interlaced", "a.mp4", {"x264opts": "tff=1"}),
        ("may be transparent", "a.mov", {"codec": "qtrle", "kind": "argb"}),
        ("may be transparent", "a.webm", {"codec": "libvpx", "kind": "yuva420p"}),
    ],
)
def test_reasons(tmp_path, reason, name, options):
    options |= {"auto-alt-ref": "0"} if name == "a.webm" else {}
    path = write_pixels(tmp_path / name, [draw_quadrants()] * 5, **options)
    assert list_changes(path) == [reason]


def test_other_reasons(tmp_path):
    tags = {"color_trc": PQ, "color_primaries": 9, "colorspace": 9, "color_range": 1}
    signal = [signal_hdr(draw_quadrants(), PQ)] * 3
    path = write_pixels(tmp_path / "a.mp4", signal, kind="yuv420p10le", given="rgb48le", tags=tags)
    assert list_changes(path) == ["high dynamic range"]
    plain = write_pixels(tmp_path / "b.mp4", [draw_quadrants()] * 5)
    turned = copy_filtered(
        plain, tmp_path / "c.mp4", "h264_metadata=display_orientation=insert:rotate=90"
    )
    assert list_changes(turned) == ["only some frames tell how they are turned"]
