"""Commands and code in the pages, and stand-ins for what they would download."""

import re
import shlex

import av
import click
import numpy as np

import tempme_jax
from tempme_jax.cli import main

# Small enough to run in a test.
SMALL = dict(width=64, heads=1, depth=5, text_depth=1, text_width=64, text_heads=1)


def read_blocks(page, language):
    """The fenced blocks of a language in a page, which may be indented."""
    return re.findall(rf"^ *```{language}\n(.*?)```", page, flags=re.DOTALL | re.MULTILINE)


def read_commands(page):
    """The lines of the blocks of bash in a page, without comments."""
    lines = [line for block in read_blocks(page, "bash") for line in block.strip().splitlines()]
    return [line.split("  #")[0].strip() for line in lines]


def require_known(command, monkeypatch):
    """Fail unless the words of a `tempme` command, its options and their values are known."""
    group, words, parent = main, shlex.split(command)[1:], None
    while isinstance(group, click.Group):
        parent = click.Context(group, parent=parent, info_name=words[0])
        group, words = group.get_command(parent, words[0]), words[1:]
        assert group, command
    # The folders are not there.
    monkeypatch.setattr(click.Path, "convert", lambda self, value, *_: value)
    assert group.make_context(command, words, parent=parent).params


def stand_in(monkeypatch):
    """Let searches open a small random model in place of OpenAI's weights."""
    model = tempme_jax.create("ViT-B/32", method="clip", num_frames=2, **SMALL | {"depth": 1})
    monkeypatch.setattr("tempme_jax.search.opening.load", lambda **options: model)
    monkeypatch.setattr("tempme_jax.search.header.load", lambda **options: model)


def write_black_video(file):
    """Write one frame, black."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with av.open(file, "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
        container.mux([*stream.encode(frame), *stream.encode()])
