"""Merged tokens as a page to click on: one file that loads nothing from a network."""

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

from tempme_jax.visualize.merged import MergedTokens, choose_edge_colours
from tempme_jax.visualize.picture import describe_frame, require_same_frames
from tempme_jax.words import pluralize

PARTS = resources.files("tempme_jax.visualize") / "page"
# JPEG quality of the frames, which are only looked at.
QUALITY = 92


def make_page(shown: Sequence[MergedTokens], title: str) -> str:
    """Return the HTML of the page.

    Args:
        shown: one for each method, all of the same frames.
        title: any text, such as the name of the video.

    Raises:
        ValueError: if there is nothing to show, or the frames are not the same.
    """
    require_same_frames(shown)
    style, script = ((PARTS / name).read_text("utf-8") for name in ("page.css", "page.js"))
    # A file name may hold bytes that are not valid Unicode, which a page cannot hold.
    title = os.fsencode(title).decode("utf-8", "replace")
    first = shown[0]
    count, side = first.source.shape[:2]
    return string.Template((PARTS / "page.html").read_text("utf-8")).substitute(
        style=style,
        style_hash=hash_source(style),
        script=script,
        script_hash=hash_source(script),
        title=html.escape(title),
        shape=f"{pluralize(count, 'frame')} of {side} × {side} patches",
        methods="\n".join(
            f'<option value="{html.escape(one.method)}">{html.escape(one.method)}</option>'
            for one in shown
        ),
        frames="\n".join(make_figure(first, frame) for frame in range(count)),
        # A closing tag in the data would end the script element.
        data=json.dumps(make_data(shown), separators=(",", ":")).replace("<", "\\u003c"),
    )


def make_data(shown: Sequence[MergedTokens]) -> dict[str, Any]:
    """Return the data of the script: source maps, and colours of tokens, the largest first."""
    methods = []
    for one in shown:
        ids = np.zeros(len(one.counts), int)
        ids[one.number[one.number >= 0]] = one.source[one.number >= 0]
        tokens = [
            {"id": int(token), "mean": format_colour(mean), "edge": format_colour(edge)}
            for token, mean, edge in zip(
                ids, one.means, choose_edge_colours(one.counts), strict=True
            )
        ]
        methods.append({"name": one.method, "source": one.source.tolist(), "tokens": tokens})
    seconds = shown[0].seconds
    return {"seconds": None if seconds is None else list(seconds), "methods": methods}


def make_figure(merged: MergedTokens, frame: int) -> str:
    """Return the HTML of a frame: the original under a layer, and a canvas for its tokens."""
    caption = html.escape(describe_frame(merged, frame))
    return (
        f"<figure><figcaption>{caption}</figcaption>"
        f'<div class="original"><img src="{make_data_address(merged.frames[frame])}" '
        f'alt="Frame {frame + 1} of the video"><canvas aria-hidden="true"></canvas></div>'
        f'<canvas class="merged" role="img" aria-label="Tokens of frame {frame + 1}"></canvas>'
        "</figure>"
    )


def make_data_address(pixels: UInt8[np.ndarray, "h w 3"]) -> str:
    """Return a `data:` address that holds a picture."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", quality=QUALITY, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def hash_source(text: str) -> str:
    """Return the hash by which a content security policy allows a script or a style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def format_colour(colour: UInt8[np.ndarray, " 3"]) -> str:
    """Return a colour as #rrggbb."""
    return "#" + bytes(colour).hex()
