"""Frames of streams without a container, and of rarer containers, are those that ffmpeg decodes."""

import shutil
import subprocess
from fractions import Fraction

import numpy as np
import pytest

from tempme_jax.video.frames import read_at
from tempme_jax.video.timeline import scan

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the program ffmpeg"),
]

WIDTH, HEIGHT, COUNT = 96, 64, 60
X264 = ["-c:v", "libx264", "-pix_fmt", "yuv420p"]
KINDS = {
    "a.m1v": ["-c:v", "mpeg1video", "-q:v", "3", "-bf", "2"],
    "a.m2v": ["-c:v", "mpeg2video", "-q:v", "3", "-bf", "2"],
    "a.mpg": ["-c:v", "mpeg2video", "-q:v", "3", "-bf", "2", "-f", "mpeg2video"],
    "small.mod": ["-c:v", "mpeg2video", "-q:v", "31", "-bf", "2", "-f", "vob"],
    "a.m4v": ["-c:v", "mpeg4", "-q:v", "3", "-bf", "2", "-f", "m4v"],
    "a.h264": [*X264, "-bf", "3", "-b_strategy", "0"],
    "refresh.h264": [*X264, "-x264-params", "intra-refresh=1"],
    "a.264": [*X264, "-bf", "0"],
    "a.hevc": ["-c:v", "libx265", "-pix_fmt", "yuv420p", "-x265-params", "log-level=none"],
    "a.obu": ["-c:v", "libsvtav1", "-preset", "12", "-g", "20"],
    "a.ivf": ["-c:v", "libvpx-vp9", "-g", "20", "-deadline", "realtime"],
    "a.y4m": ["-pix_fmt", "yuv420p"],
    "a.rm": ["-c:v", "rv20", "-q:v", "3"],
    "a.gif": [],
    "a.mxf": ["-c:v", "mpeg2video", "-q:v", "3", "-bf", "2"],
}


@pytest.mark.parametrize("rate", ["25", "30000/1001"])
@pytest.mark.parametrize("name", KINDS)
def test_frames_by_their_numbers(tmp_path, name, rate):
    if name in ("a.gif", "a.obu"):
        rate = "25"  # times are hundredths of a second; and this stream states no rate
    path, ffmpeg = tmp_path / name, ["ffmpeg", "-y", "-loglevel", "error"]
    pictures = f"testsrc2=s={WIDTH}x{HEIGHT}:r={rate}"
    source = ["-f", "lavfi", "-i", pictures, "-frames:v", str(COUNT)]
    subprocess.run([*ffmpeg, *source, *KINDS[name], path], check=True, capture_output=True)
    raw = ["-vsync", "passthrough", "-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    decoded = subprocess.run([*ffmpeg, "-i", path, *raw], check=True, capture_output=True).stdout
    theirs = np.frombuffer(decoded, np.uint8).reshape(-1, HEIGHT, WIDTH, 3)
    assert len(theirs) == COUNT
    assert float(scan(str(path)).length) == pytest.approx(float(COUNT / Fraction(rate)), abs=2e-3)
    numbers = [0, 1, 13, 14, 31, 47, 59]
    moments = [(number + Fraction(1, 2)) / Fraction(rate) for number in numbers]
    ours, _ = read_at(path, lambda length: moments)
    for number, frame in zip(numbers, ours, strict=True):
        error = ((frame.astype(float) - theirs[number]) ** 2).mean()
        assert error < 255**2 / 10**3, number  # 30 dB
