"""Video files whose pixels are stored in other ways than a player shows them."""

from fractions import Fraction

import av
import numpy as np
from av.bitstream import BitStreamFilterContext

RED, GREEN, BLUE, WHITE = (230, 20, 20), (20, 200, 20), (20, 20, 230), (240, 240, 240)
# Linear light of BT.709 as that of BT.2020.
TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])


def draw_quadrants(width=192, height=96):
    picture = np.zeros((height, width, 3), np.uint8)
    top, left = height // 2, width // 2
    picture[:top, :left], picture[:top, left:] = RED, GREEN
    picture[top:, :left], picture[top:, left:] = BLUE, WHITE
    return picture


def pick_corners(frame):
    """The colours in the middles of the four quadrants."""
    height, width = frame.shape[:2]
    rows, columns = (height // 4, height * 3 // 4), (width // 4, width * 3 // 4)
    return frame[np.ix_(rows, columns)].astype(int)


def write_pixels(
    path, pictures, codec="libx264", kind="yuv420p", *, given="rgb24", aspect=None, tags=None,
    rate=10, **options,
):  # fmt: skip
    """Write arrays of libav's format `given` as frames of the format `kind`.

    `tags` are codes of H.273 by the names that PyAV gives them, `aspect` is that of the pixels.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        add_frames(container, stream, pictures, kind, given, aspect, tags or {})
    return path


def add_frames(container, stream, pictures, kind="yuv420p", given="rgb24", aspect=None, tags=None):
    if not stream.codec_context.is_open:  # else, what follows was set when the header was written
        set_up(stream, pictures[0].shape[1::-1], kind, aspect, tags or {})
    context = stream.codec_context
    for number, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, format=given)
        frame = frame.reformat(
            format=kind, dst_colorspace={9: 9, 1: 1}.get(context.colorspace), dst_color_range=1
        )
        for name, code in (tags or {}).items():
            setattr(frame, name, code)
        frame.pts, frame.time_base = number, 1 / Fraction(context.rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def set_up(stream, size, kind, aspect=None, tags=None):
    context = stream.codec_context
    context.width, context.height = size
    context.pix_fmt, context.thread_count = kind, 1
    if aspect is not None:
        context.sample_aspect_ratio = Fraction(aspect)
    for name, code in (tags or {}).items():
        setattr(context, name, code)


def copy_filtered(source, path, filters):
    """Copy the video of a file through one of libav's filters of bit streams."""
    with av.open(str(source)) as opened, av.open(str(path), "w") as written:
        stream = opened.streams.video[0]
        target = written.add_stream_from_template(stream)
        filtering = BitStreamFilterContext(filters, stream, target)
        for packet in [*opened.demux(stream), None]:
            if packet is None or packet.dts is not None:
                for changed in filtering.filter(packet):
                    changed.stream = target
                    written.mux(changed)
    return path


def signal_hdr(picture, transfer):
    """A standard-range picture as the signal of PQ (16) or HLG (18), uint16; white at 203 nits."""
    light = (picture / 255) ** 2.2 @ TO_BT2020.T
    if transfer == 16:
        root = (np.maximum(light, 0) * 203 / 10000) ** 0.1593017578125
        signal = ((0.8359375 + 18.8515625 * root) / (1 + 18.6875 * root)) ** 78.84375
    else:
        scene = np.maximum(light, 0) * 0.265
        high = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
        signal = np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)
    return np.round(np.clip(signal, 0, 1) * 65535).astype(np.uint16)
