"""Merged tokens as a picture and as the frames of a film."""

import functools
import pathlib
from collections.abc import Iterator, Sequence

import matplotlib
import numpy as np
from jaxtyping import Bool, Int, UInt8
from PIL import Image, ImageDraw, ImageFont

from tempme_jax.visualize.merged import ALONE, MergedTokens, choose_edge_colours
from tempme_jax.words import pluralize

# Least size of a frame in a picture and in a film, gap between two frames, and margin of the sheet,
# all in pixels; width of the border of a token, as a share of a patch.
FRAME, FILM_FRAME = 180, 320
GAP = 8
MARGIN = 20
BORDER = 1 / 14
# Most frames in a row of a picture, and most panels in a row of a film.
MOST_COLUMNS, MOST_PANELS = 8, 4

PAPER, INK, FAINT = (255, 255, 255), (25, 25, 30), (105, 105, 115)
# Brightness that is left of a pruned patch, and the colour of the stroke through it.
DARKENED = 0.3
STROKE = (235, 235, 235)
FONTS = pathlib.Path(matplotlib.get_data_path(), "fonts", "ttf")


@functools.cache
def load_font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Load DejaVu Sans, which comes with matplotlib."""
    return ImageFont.truetype(FONTS / f"DejaVuSans{'-Bold' if bold else ''}.ttf", size)


def draw_picture(shown: Sequence[MergedTokens], *, columns: int = MOST_COLUMNS) -> Image.Image:
    """Draw the frames in a row, and below them a row for each method.

    Args:
        shown: one for each method, all of the same frames.
        columns: most frames in a row; further frames follow below.

    Raises:
        ValueError: if there is nothing to show, or the frames are not the same.
    """
    require_same_frames(shown)
    count = len(shown[0].frames)
    rows = -(-count // columns)
    columns = -(-count // rows)
    scale = choose_scale(shown[0], FRAME)
    pictures = [enlarge(shown[0].frames, scale), *(paint_tokens(one, scale) for one in shown)]
    side = pictures[0].shape[1]
    labels = [draw_label("original", pluralize(count, "frame"))]
    labels += [draw_label(one.method, *one.tally) for one in shown]
    indent = max(image.width for image in labels) + 2 * GAP
    width = indent + columns * (side + GAP) - GAP
    notes = draw_legend(width, pruned=any(one.has_pruned for one in shown))

    head = 24
    block = head + len(pictures) * (side + GAP) + 2 * GAP
    size = max(width, notes.width) + 2 * MARGIN, rows * block + notes.height + 2 * MARGIN
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for row in range(rows):
        top = MARGIN + row * block
        for line, image in enumerate(labels):
            y = top + head + line * (side + GAP) + (side - image.height) // 2
            sheet.paste(image, (MARGIN, y))
        for column, frame in enumerate(range(row * columns, min((row + 1) * columns, count))):
            x = MARGIN + indent + column * (side + GAP)
            draw.text((x, top), describe_frame(shown[0], frame), FAINT, load_font(14))
            for line, frames in enumerate(pictures):
                tile = Image.fromarray(frames[frame])
                sheet.paste(tile, (x, top + head + line * (side + GAP)))
    sheet.paste(notes, (MARGIN, MARGIN + rows * block))
    return sheet


def draw_film(shown: Sequence[MergedTokens]) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Yield one picture for each frame: the original beside each method's.

    Raises:
        ValueError: as `draw_picture` does.
    """
    require_same_frames(shown)
    scale = choose_scale(shown[0], FILM_FRAME)
    panels = [enlarge(shown[0].frames, scale), *(paint_tokens(one, scale) for one in shown)]
    notes = {"pruned": any(one.has_pruned for one in shown)}
    for frame in range(len(shown[0].frames)):
        titles = [draw_label("original", describe_frame(shown[0], frame))]
        titles += [draw_label(one.method, " ".join(one.tally[:2]), *one.tally[2:]) for one in shown]
        yield np.asarray(arrange_panels([panel[frame] for panel in panels], titles, **notes))


def arrange_panels(
    panels: Sequence[UInt8[np.ndarray, "s s 3"]], titles: Sequence[Image.Image], *, pruned: bool
) -> Image.Image:
    """Put pictures under their titles, on a sheet of even width and height, as H.264 needs."""
    side, head = len(panels[0]), max(title.height for title in titles) + GAP
    rows = -(-len(panels) // MOST_PANELS)
    columns = -(-len(panels) // rows)
    across, down = max(side, *(title.width for title in titles)) + 2 * GAP, head + side + 2 * GAP
    notes = draw_legend(columns * across, pruned=pruned)
    width = max(columns * across, notes.width) + 2 * MARGIN
    height = rows * down + notes.height + 2 * MARGIN
    sheet = Image.new("RGB", (width + width % 2, height + height % 2), PAPER)
    for place, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        x, y = MARGIN + place % columns * across, MARGIN + place // columns * down
        sheet.paste(title, (x, y))
        sheet.paste(Image.fromarray(panel), (x, y + head))
    sheet.paste(notes, (MARGIN, MARGIN + rows * down))
    return sheet


def paint_tokens(merged: MergedTokens, scale: int) -> UInt8[np.ndarray, "f s s 3"]:
    """Paint each token in its mean colour with a border, and pruned patches dark."""
    patch = merged.frames.shape[1] // merged.source.shape[1] * scale
    number = enlarge(merged.number, patch)
    held = number >= 0
    pixels = np.where(held[..., None], 0, enlarge(merged.frames, scale) * DARKENED)
    pixels = pixels.astype(np.uint8)
    thickness = max(1, round(patch * BORDER))
    stroked = np.tile(make_diagonal(patch, thickness), merged.source.shape[1:])[None] & ~held
    alone = np.append(merged.counts == 1, False)[number]
    thin, thick = find_borders(number, -(-thickness // 2)), find_borders(number, thickness)
    edge = np.where(alone, thin, thick) & held
    pixels[held] = merged.means[number[held]]
    pixels[edge] = choose_edge_colours(merged.counts)[number[edge]]
    pixels[stroked] = STROKE
    return pixels


def find_borders(number: Int[np.ndarray, "f h w"], thickness: int) -> Bool[np.ndarray, "f h w"]:
    """Find pixels less than `thickness` from another number or from the edge of the frame."""
    reach = range(-thickness, thickness + 1)
    _, height, width = number.shape
    # Beyond the frame there is neither a token nor a pruned patch.
    padding = ((0, 0), (thickness, thickness), (thickness, thickness))
    padded = np.pad(number, padding, constant_values=-2)
    rows = [padded[:, thickness + d : thickness + d + height] for d in reach]
    low, high = np.minimum.reduce(rows), np.maximum.reduce(rows)
    columns = [slice(thickness + d, thickness + d + width) for d in reach]
    low = np.minimum.reduce([low[:, :, column] for column in columns])
    high = np.maximum.reduce([high[:, :, column] for column in columns])
    return low != high


def make_diagonal(side: int, thickness: int) -> Bool[np.ndarray, "s s"]:
    """Draw a stroke from the lower left to the upper right of a square."""
    row, column = np.indices((side, side))
    return abs(row + column - (side - 1)) < thickness


def enlarge(a: np.ndarray, times: int) -> np.ndarray:
    """Repeat every element of [f, h, w, ...] `times` times in height and width."""
    return a.repeat(times, axis=1).repeat(times, axis=2)


def choose_scale(merged: MergedTokens, least: int) -> int:
    """Return the least factor that makes the side of a frame `least` pixels or more."""
    return -(-least // merged.frames.shape[1])


def require_same_frames(shown: Sequence[MergedTokens]) -> None:
    """Raise a ValueError if there is nothing to show, or the frames are not the same."""
    if not shown:
        raise ValueError("there is nothing to show; give what `trace` returns")
    for one in shown[1:]:
        if not np.array_equal(one.frames, shown[0].frames):
            raise ValueError(f"{one.method} was traced on other frames than {shown[0].method}")


def describe_frame(merged: MergedTokens, frame: int) -> str:
    """Return the number of a frame and, if it is known, its time."""
    if merged.seconds is None:
        return f"{frame + 1}"
    return f"{frame + 1}  ·  {merged.seconds[frame]:.2f} s"


def draw_label(name: str, *lines: str) -> Image.Image:
    """Draw a name in bold with some lines below it."""
    bold, plain = load_font(18, bold=True), load_font(14)
    width = max([bold.getlength(name), *map(plain.getlength, lines)])
    image = Image.new("RGB", (int(width) + 2, 26 + 19 * len(lines)), PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((0, 0), name, INK, bold)
    for place, line in enumerate(lines):
        draw.text((0, 26 + 19 * place), line, FAINT, plain)
    return image


def draw_legend(width: int, *, pruned: bool) -> Image.Image:
    """Explain the colours, in lines of at most `width` pixels if that is possible."""
    notes = {
        "hue": "one hue: patches of one token, in all frames, in their mean colour",
        "alone": "grey: a patch by itself",
    }
    notes |= {"pruned": "pruned: no token holds the patch"} if pruned else {}
    swatch, plain, line = 16, load_font(13), 26
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
            edge = tuple(choose_edge_colours(np.array([2]))[0]) if kind == "hue" else ALONE
            draw.rectangle(box, (190, 190, 190), edge, 3)
        draw.text((x + swatch + 8, y + 4), text, FAINT, plain)
    return image
