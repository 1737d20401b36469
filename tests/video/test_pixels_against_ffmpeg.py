"""Pixels of every kind of video equal those that the program ffmpeg shows."""

import shutil
import subprocess

import numpy as np
import pytest

from tempme_jax.video.frames import read_frames

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the program ffmpeg"),
]

SOURCE = "gradients=s=320x240:d=0.4:r=25:x0=0:y0=0:x1=320:y1=240:seed=1:speed=0.01,format=rgb24"
SQUARE, FIELDS = "scale=iw*sar:ih", "yadif=deint=interlaced"
ALPHA = "format=gbrap,premultiply=inplace=1,format=gbrp"
X264 = "-c:v libx264 -qp 8"
FADED = "format=rgba,colorchannelmixer=aa=0.5"
# Name of the file, how it is written, and how ffmpeg shows it as a player does.
KINDS = [
    ("a.mp4", f"{X264} -pix_fmt yuv420p", "null"),
    ("a.mp4", f"{X264} -pix_fmt yuv422p10le", "null"),
    ("a.mkv", "-c:v libx264rgb", "null"),
    ("a.mp4", f"{X264} -pix_fmt yuvj420p", "null"),
    ("a.mp4", f"{X264} -vf scale=out_color_matrix=bt709 -colorspace bt709", "null"),
    ("a.mp4", f"{X264} -vf scale=out_color_matrix=smpte240m -colorspace smpte240m", "null"),
    ("a.mp4", f"{X264} -vf scale=out_color_matrix=bt2020 -colorspace bt2020nc", "null"),
    ("a.mp4", f"{X264} -vf scale=out_range=full -color_range pc", "null"),
    ("a.mp4", f"{X264} -color_primaries smpte432 -color_trc bt709 -colorspace smpte170m", "null"),
    ("a.mp4", f"{X264} -vf setsar=2/1", SQUARE),
    ("a.mkv", f"{X264} -vf setsar=10/11", SQUARE),
    ("a.webm", "-c:v libvpx-vp9 -vf setsar=64/45", SQUARE),
    ("a.mp4", f"{X264} -metadata:s:v rotate=90", "null"),
    ("a.mp4", f"{X264} -metadata:s:v rotate=30", "null"),
    ("a.mpg", "-c:v mpeg2video -q:v 2 -flags +ildct+ilme -vf setfield=bff", FIELDS),
    ("a.mov", "-c:v prores_ks -flags +ildct+ilme -vf setfield=tff", FIELDS),
    ("a.mkv", f"{X264} -pix_fmt yuv420p -x264opts tff=1 -vf setfield=tff", FIELDS),
    ("a.dv", "-c:v dvvideo -pix_fmt yuv420p -s 720x576", f"{FIELDS},{SQUARE}"),
    ("a.mov", f"-c:v png -pix_fmt rgba -vf {FADED}", ALPHA),
    ("a.mov", f"-c:v qtrle -pix_fmt argb -vf {FADED}", ALPHA),
    ("a.mov", f"-c:v prores_ks -pix_fmt yuva444p10le -vf {FADED}", ALPHA),
    ("a.mkv", f"-c:v ffv1 -pix_fmt yuva420p -vf {FADED}", ALPHA),
    ("a.mov", "-c:v png -pix_fmt pal8", "null"),
    ("a.mov", "-c:v png -pix_fmt rgb48be", "null"),
    ("a.mov", "-c:v png -pix_fmt ya8", "null"),
    ("a.mov", "-c:v v210", "null"),
    ("a.mov", "-c:v r210", "null"),
    ("a.mov", "-c:v jpeg2000 -pix_fmt xyz12le", "null"),
    ("a.mkv", "-c:v ffv1 -pix_fmt gray10le", "null"),
    ("a.mkv", "-c:v ffv1 -pix_fmt gbrp12le", "null"),
    ("a.mkv", "-c:v ffv1 -pix_fmt yuv410p", "null"),
    ("a.avi", "-c:v rawvideo -pix_fmt bgra", "null"),
    ("a.avi", "-c:v huffyuv -pix_fmt bgra", "null"),
    ("a.avi", "-c:v mjpeg -pix_fmt yuvj422p -q:v 2", "null"),
    ("a.mp4", "-c:v libx265 -x265-params log-level=none:qp=8 -pix_fmt yuv444p12le", "null"),
    ("a.mp4", "-c:v libsvtav1 -preset 12 -crf 10 -pix_fmt yuv420p10le", "null"),
    ("a.webm", "-c:v libvpx-vp9 -pix_fmt gbrp", "null"),
]


@pytest.mark.parametrize(("name", "written", "shown"), KINDS)
def test_as_ffmpeg(tmp_path, name, written, shown):
    file, first = tmp_path / name, tmp_path / "first.ppm"
    quiet = ["ffmpeg", "-y", "-loglevel", "error"]
    subprocess.run([*quiet, "-f", "lavfi", "-i", SOURCE, *written.split(), file], check=True)
    show = ["-vf", shown, "-frames:v", "1", "-pix_fmt", "rgb24", "-update", "1"]
    subprocess.run([*quiet, "-i", file, *show, first], check=True)
    _, size, _, content = first.read_bytes().split(b"\n", 3)
    width, height = map(int, size.split())
    expected = np.frombuffer(content, np.uint8).reshape(height, width, 3)
    seen = read_frames(file, 10)[0]
    assert seen.shape == expected.shape
    error = ((seen - expected.astype(float)) ** 2).mean()
    assert error < 255**2 / 10**3.5, "PSNR below 35 dB"
