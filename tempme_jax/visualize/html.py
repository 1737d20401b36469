"""Merged tokens as a page to click on: one file that asks nothing of any network."""

import base64
import hashlib
import html
import io
import json
import os
import string
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from tempme_jax.visualize.merged import Merged, edge_colours
from tempme_jax.visualize.picture import moment, require_same_frames
from tempme_jax.words import pluralize

PARTS = resources.files("tempme_jax.visualize") / "page"
# Of the JPEG of a frame: its colours are seen, not measured.
QUALITY = 92


def page(shown: Sequence[Merged], title: str) -> str:
    """The page, HTML.

    Args:
        shown: one for each method, all of the same frames.
        title: such as the name of the video; any text.

    Raises:
        ValueError: if there is nothing to show, or the frames are not the same.
    """
    require_same_frames(shown)
    style, script = ((PARTS / name).read_text("utf-8") for name in ("page.css", "page.js"))
    # What is not valid Unicode in the name of a file cannot be written as such.
    title = os.fsencode(title).decode("utf-8", "replace")
    first = shown[0]
    count, side = first.source.shape[:2]
    return string.Template((PARTS / "page.html").read_text("utf-8")).substitute(
        style=style,
        style_hash=digest(style),
        script=script,
        script_hash=digest(script),
        title=html.escape(title),
        shape=f"{pluralize(count, 'frame')} of {side} × {side} patches",
        methods="\n".join(
            f'<option value="{html.escape(one.method)}">{html.escape(one.method)}</option>'
            for one in shown
        ),
        frames="\n".join(figure(first, frame) for frame in range(count)),
        # A closing tag within would end the element.
        data=json.dumps(data(shown), separators=(",", ":")).replace("<", "\\u003c"),
    )


def data(shown: Sequence[Merged]) -> dict[str, Any]:
    """What the script reads: the source maps, and the colours of the tokens, the largest first."""
    methods = []
    for one in shown:
        ids = np.zeros(len(one.counts), int)
        ids[one.number[one.number >= 0]] = one.source[one.number >= 0]
        tokens = [
            {"id": int(token), "mean": css(mean), "edge": css(edge)}
            for token, mean, edge in zip(ids, one.means, edge_colours(one.counts), strict=True)
        ]
        methods.append({"name": one.method, "source": one.source.tolist(), "tokens": tokens})
    seconds = shown[0].seconds
    return {"seconds": None if seconds is None else list(seconds), "methods": methods}


def figure(merged: Merged, frame: int) -> str:
    """One frame: the original, with a layer for highlights, and a canvas for its tokens."""
    caption = html.escape(moment(merged, frame))
    return (
        f"<figure><figcaption>{caption}</figcaption>"
        f'<div class="original"><img src="{data_image(merged.frames[frame])}" '
        f'alt="Frame {frame + 1} of the video"><canvas aria-hidden="true"></canvas></div>'
        f'<canvas class="merged" role="img" aria-label="Tokens of frame {frame + 1}"></canvas>'
        "</figure>"
    )


def data_image(pixels: UInt8[np.ndarray, "h w 3"]) -> str:
    """A picture as an address that holds it."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", quality=QUALITY, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def digest(text: str) -> str:
    """What a content security policy calls a script or a style that it allows."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def css(colour: UInt8[np.ndarray, " 3"]) -> str:
    """#rrggbb."""
    return "#" + bytes(colour).hex()
