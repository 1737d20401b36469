"""Animated pictures: tell them from still ones, and read WebP.

libav cannot decode animated WebP files, so Pillow decodes them into a film in memory.
"""

import io
from fractions import Fraction
from typing import BinaryIO

import av
from av.video.frame import VideoFrame
from PIL import Image

from tempme_jax.video.errors import VideoError
from tempme_jax.video.kinds import PICTURE, open_bytes

# Browsers show a frame that claims at most the first number of milliseconds for the second.
SHORTEST, USUAL = 10, 100
# The bytes of all pixels of the longest film that is taken. What is held in memory is compressed.
MAX_BYTES = 2 * 2**30
# How files of the family of MP4 begin that hold pictures; libav would open them as videos.
STILLS = frozenset(b"ftyp" + brand for brand in (b"heic", b"heix", b"mif1", b"avif"))
# What Pillow raises for damaged files, besides bombs.
DAMAGED = (OSError, ValueError, SyntaxError, EOFError, IndexError)


def convert_animation(path: str) -> io.BytesIO | None:
    """Convert an animated WebP file to a film; None if libav can open the file itself.

    Nothing is lost but transparency: what is transparent becomes black.

    Raises:
        VideoError: it is damaged, or too long; or the file is a still picture.
    """
    with open_bytes(path) as file:
        head = file.read(21)
        file.seek(0)
        if head.startswith(b"GIF8") and _is_still(file):
            raise VideoError(path, "not a video (a picture, GIF)", PICTURE)
        if head[4:12] in STILLS:
            raise VideoError(path, "not a video (a picture, HEIF or AVIF)", PICTURE)
        # A file with a header for extensions, with the flag of animations.
        if head[:4] != b"RIFF" or head[8:16] != b"WEBPVP8X" or not head[20:] or not head[20] & 2:
            return None
        try:
            return _convert(file)
        except (*DAMAGED, Image.DecompressionBombError) as error:
            raise VideoError(path, f"an animation that cannot be read (WebP: {error})") from error


def _is_still(file: BinaryIO) -> bool:
    try:
        with Image.open(file, formats=["GIF"]) as picture:
            return not getattr(picture, "is_animated", True)
    except (*DAMAGED, Image.DecompressionBombError):  # libav may still read it
        return False


def _convert(file: BinaryIO) -> io.BytesIO:
    film = io.BytesIO()
    with Image.open(file, formats=["WEBP"]) as picture, av.open(film, "w", format="mov") as output:
        count, (width, height) = getattr(picture, "n_frames", 1), picture.size
        if count * width * height * 3 > MAX_BYTES:
            raise ValueError(f"too long, {count} frames of {width} x {height} pixels")
        stream = output.add_stream("magicyuv", rate=1000)  # lossless, and fast
        stream.width, stream.height, stream.pix_fmt = width, height, "gbrp"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.thread_count = 1  # so every frame becomes a packet at once
        time = 0
        for number in range(count):
            picture.seek(number)
            frame = VideoFrame.from_image(_show_on_black(picture))
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            stated = int(picture.info.get("duration", 0))
            duration = stated if stated > SHORTEST else USUAL
            for packet in stream.encode(frame):
                packet.duration = duration
                output.mux(packet)
            time += duration
    film.seek(0)
    return film


def _show_on_black(picture: Image.Image) -> Image.Image:
    shown = picture.convert("RGBA")
    black = Image.new("RGB", shown.size)
    black.paste(shown, mask=shown.getchannel("A"))
    return black
