"""Merged tokens as a picture and as a film."""

import functools
import io
import pathlib
from collections.abc import Sequence

import av
import matplotlib
import numpy as np
from jaxtyping import Bool, Int, UInt8
from PIL import Image, ImageDraw, ImageFont

from tempme_jax.visualize.merged import ALONE, Merged, edge_colours
from tempme_jax.words import pluralize

# Pixels: at least as large is a frame in a picture and in a film, what lies between two of them,
# and how thick the border of a token is, as a share of a patch.
FRAME, FILM_FRAME = 180, 320
GAP = 8
MARGIN = 20
BORDER = 1 / 14
# Frames side by side in a picture, and panels in a film.
MOST_COLUMNS, MOST_PANELS = 8, 4
FRAMES_A_SECOND = 2

PAPER, INK, FAINT = (255, 255, 255), (25, 25, 30), (105, 105, 115)
# How bright a pruned patch stays, and the stroke through it.
DARKENED = 0.3
STROKE = (235, 235, 235)
FONTS = pathlib.Path(matplotlib.get_data_path(), "fonts", "ttf")


@functools.cache
def font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib."""
    return ImageFont.truetype(FONTS / f"DejaVuSans{'-Bold' if bold else ''}.ttf", size)


def picture(shown: Sequence[Merged], *, columns: int = MOST_COLUMNS) -> Image.Image:
    """The frames in a row, and below them a row for each method.

    Args:
        shown: one for each method, all of the same frames.
        columns: at most so many frames side by side; more go on below.

    Raises:
        ValueError: if there is nothing to show, or the frames are not the same.
    """
    require_same_frames(shown)
    count = len(shown[0].frames)
    rows = -(-count // columns)
    columns = -(-count // rows)
    scale = times_larger(shown[0], FRAME)
    pictures = [enlarged(shown[0].frames, scale), *(painted(one, scale) for one in shown)]
    side = pictures[0].shape[1]
    labels = [label("original", f"{pluralize(count, 'frame')}")]
    labels += [label(one.method, *one.left) for one in shown]
    indent = max(image.width for image in labels) + 2 * GAP
    width = indent + columns * (side + GAP) - GAP
    notes = legend(width, pruned=any(one.has_pruned for one in shown))

    head = 24
    block = head + len(pictures) * (side + GAP) + 2 * GAP
    sheet = Image.new(
        "RGB",
        (max(width, notes.width) + 2 * MARGIN, rows * block + notes.height + 2 * MARGIN),
        PAPER,
    )
    draw = ImageDraw.Draw(sheet)
    for row in range(rows):
        top = MARGIN + row * block
        for line, image in enumerate(labels):
            y = top + head + line * (side + GAP) + (side - image.height) // 2
            sheet.paste(image, (MARGIN, y))
        for column, frame in enumerate(range(row * columns, min((row + 1) * columns, count))):
            x = MARGIN + indent + column * (side + GAP)
            draw.text((x, top), moment(shown[0], frame), FAINT, font(14))
            for line, frames in enumerate(pictures):
                tile = Image.fromarray(frames[frame])
                sheet.paste(tile, (x, top + head + line * (side + GAP)))
    sheet.paste(notes, (MARGIN, MARGIN + rows * block))
    return sheet


def movie(shown: Sequence[Merged]) -> bytes:
    """An mp4 file with one picture for each frame: the original beside each method's.

    Raises:
        ValueError: as `picture` does.
    """
    require_same_frames(shown)
    scale = times_larger(shown[0], FILM_FRAME)
    panels = [enlarged(shown[0].frames, scale), *(painted(one, scale) for one in shown)]
    notes = {"pruned": any(one.has_pruned for one in shown)}
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        options = {"crf": "14", "threads": "1"}
        stream = container.add_stream("libx264", rate=FRAMES_A_SECOND, options=options)
        stream.pix_fmt = "yuv420p"
        for frame in range(len(shown[0].frames)):
            titles = [label("original", moment(shown[0], frame))]
            titles += [label(one.method, " ".join(one.left[:2]), *one.left[2:]) for one in shown]
            sheet = side_by_side([panel[frame] for panel in panels], titles, **notes)
            if frame == 0:
                stream.width, stream.height = sheet.size
            container.mux(stream.encode(av.VideoFrame.from_image(sheet)))
        container.mux(stream.encode())
    return file.getvalue()


def side_by_side(
    panels: Sequence[UInt8[np.ndarray, "s s 3"]], titles: Sequence[Image.Image], *, pruned: bool
) -> Image.Image:
    """Pictures under their titles, of even width and height, as H.264 wants them."""
    side, head = len(panels[0]), max(title.height for title in titles) + GAP
    rows = -(-len(panels) // MOST_PANELS)
    columns = -(-len(panels) // rows)
    across, down = max(side, *(title.width for title in titles)) + 2 * GAP, head + side + 2 * GAP
    notes = legend(columns * across, pruned=pruned)
    width = max(columns * across, notes.width) + 2 * MARGIN
    height = rows * down + notes.height + 2 * MARGIN
    sheet = Image.new("RGB", (width + width % 2, height + height % 2), PAPER)
    for place, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        x, y = MARGIN + place % columns * across, MARGIN + place // columns * down
        sheet.paste(title, (x, y))
        sheet.paste(Image.fromarray(panel), (x, y + head))
    sheet.paste(notes, (MARGIN, MARGIN + rows * down))
    return sheet


def painted(merged: Merged, scale: int) -> UInt8[np.ndarray, "f s s 3"]:
    """The frames with every token in its mean colour and its border; pruned patches dark."""
    patch = merged.frames.shape[1] // merged.source.shape[1] * scale
    number = enlarged(merged.number, patch)
    held = number >= 0
    pixels = np.where(held[..., None], 0, enlarged(merged.frames, scale) * DARKENED)
    pixels = pixels.astype(np.uint8)
    thickness = max(1, round(patch * BORDER))
    stroked = np.tile(diagonal(patch, thickness), merged.source.shape[1:])[None] & ~held
    alone = np.append(merged.counts == 1, False)[number]
    edge = np.where(alone, borders(number, -(-thickness // 2)), borders(number, thickness)) & held
    pixels[held] = merged.means[number[held]]
    pixels[edge] = edge_colours(merged.counts)[number[edge]]
    pixels[stroked] = STROKE
    return pixels


def borders(number: Int[np.ndarray, "f h w"], thickness: int) -> Bool[np.ndarray, "f h w"]:
    """Where a pixel is less than `thickness` from another number, or from the edge of its frame."""
    reach = range(-thickness, thickness + 1)
    _, height, width = number.shape
    # What lies beyond the frame is no token, and not pruned either.
    padding = ((0, 0), (thickness, thickness), (thickness, thickness))
    padded = np.pad(number, padding, constant_values=-2)
    rows = [padded[:, thickness + d : thickness + d + height] for d in reach]
    low, high = np.minimum.reduce(rows), np.maximum.reduce(rows)
    columns = [slice(thickness + d, thickness + d + width) for d in reach]
    low = np.minimum.reduce([low[:, :, column] for column in columns])
    high = np.maximum.reduce([high[:, :, column] for column in columns])
    return low != high


def diagonal(side: int, thickness: int) -> Bool[np.ndarray, "s s"]:
    """A stroke from the lower left to the upper right of a square."""
    row, column = np.indices((side, side))
    return abs(row + column - (side - 1)) < thickness


def enlarged(a: np.ndarray, times: int) -> np.ndarray:
    """[f, h, w, ...] with every element `times` as high and wide."""
    return a.repeat(times, axis=1).repeat(times, axis=2)


def times_larger(merged: Merged, least: int) -> int:
    """How many times larger the frames must be to have a side of `least`."""
    return -(-least // merged.frames.shape[1])


def require_same_frames(shown: Sequence[Merged]) -> None:
    """Raises a ValueError unless there are some, of the same frames."""
    if not shown:
        raise ValueError("there is nothing to show; give what `trace` returns")
    for one in shown[1:]:
        if not np.array_equal(one.frames, shown[0].frames):
            raise ValueError(f"{one.method} was traced on other frames than {shown[0].method}")


def moment(merged: Merged, frame: int) -> str:
    """Which frame, and when it is on screen."""
    if merged.seconds is None:
        return f"{frame + 1}"
    return f"{frame + 1}  ·  {merged.seconds[frame]:.2f} s"


def label(name: str, *lines: str) -> Image.Image:
    """A name in bold with some lines below it."""
    bold, plain = font(18, bold=True), font(14)
    width = max([bold.getlength(name), *map(plain.getlength, lines)])
    image = Image.new("RGB", (int(width) + 2, 26 + 19 * len(lines)), PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((0, 0), name, INK, bold)
    for place, line in enumerate(lines):
        draw.text((0, 26 + 19 * place), line, FAINT, plain)
    return image


def legend(width: int, *, pruned: bool) -> Image.Image:
    """What the colours mean, in lines of at most `width` pixels where that is possible."""
    notes = {
        "hue": "one hue: patches of one token, in all frames, in their mean colour",
        "alone": "grey: a patch by itself",
    }
    notes |= {"pruned": "pruned: no token holds the patch"} if pruned else {}
    swatch, plain, line = 16, font(13), 26
    widths = [swatch + 8 + int(plain.getlength(text)) + 28 for text in notes.values()]
    places, x, y = [], 0, 0
    for item in widths:
        if x and x + item > width:
            x, y = 0, y + line
        places.append((x, y))
        x += item
    image = Image.new("RGB", (max(width, *widths), y + line), PAPER)
    draw = ImageDraw.Draw(image)
    for (kind, text), (x, y) in zip(notes.items(), places, strict=True):
        box = (x, y + 4, x + swatch, y + 4 + swatch)
        if kind == "pruned":
            draw.rectangle(box, (60, 60, 60))
            draw.line((box[0], box[3], box[2], box[1]), STROKE, 2)
        else:
            edge = tuple(edge_colours(np.array([2]))[0]) if kind == "hue" else ALONE
            draw.rectangle(box, (190, 190, 190), edge, 3)
        draw.text((x + swatch + 8, y + 4), text, FAINT, plain)
    return image
