"""An index of a few generated videos for the tests of the search service, without a model."""

import contextlib
import io
import math
import threading
import time
import types

import av
import numpy as np
import uvicorn
from PIL import Image, ImageDraw

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.query.searcher import Moment, Results
from tempme_jax.search.serve.server import listen, make_server_config
from tempme_jax.search.stats import IndexStats
from tempme_jax.search.store.lance import make_condition
from tempme_jax.text.bpe import Tokenizer

RATE, SIZE = 6, (320, 180)
# A name that is HTML, and that of a file that no browser plays.
HOSTILE = '<img src=x onerror="document.title=1">.mp4'
UNPLAYABLE = "old camera.avi"
# folder, name, seconds that the index says it lasts, colours of background and of what moves
VIDEOS = (
    ("holiday", "beach.mp4", 8, "#78b7d9", "#e8503a"),
    ("holiday", UNPLAYABLE, 8, "#8aa37b", "#3b2f2f"),
    ("holiday/mountains", "a long walk over the pass to the lake.mp4", 240, "#a9b8c9", "#4f6d3a"),
    ("work", HOSTILE, 30, "#d9c9a3", "#333a56"),
    ("work", "lecture.mp4", 4000, "#2c3547", "#f0e6c8"),
    ("work", "grüße 東京.mp4", 50, "#52465f", "#f28fb1"),
)  # fmt: skip


class FakeIndex:
    """What the service uses of a VideoIndex; some queries have their own answers."""

    def __init__(self, root):
        self.root, self.uri = root, str(root / ".tempme")  # which is not there
        self.exists = True
        self.store = types.SimpleNamespace(version=1)
        self.model = types.SimpleNamespace(tokenizer=Tokenizer(max_words=32))
        self.ids = {f"{number:024x}": row for number, row in enumerate(VIDEOS)}
        self.paths = {id: root / row[0] / row[1] for id, row in self.ids.items()}
        self.asked, self.refreshed = [], 0
        # A search for "slow", and a picture of what was merged, wait for it.
        self.go_on = threading.Event()
        self.go_on.set()
        for path, row in zip(self.paths.values(), VIDEOS, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_video(path, *row[3:])

    @property
    def version(self):
        return self.store.version

    def search(self, text, k=10, *, folder=None, min_seconds=None, max_seconds=None):
        self.asked.append((text, k, folder, min_seconds, max_seconds))
        if text == "broken":
            raise RuntimeError("a secret of the machine")
        if text == "damaged":
            raise VideoIndexError("the index is damaged; repair it with tempme index --verify")
        if text == "slow":
            assert self.go_on.wait(20)
        low, high = min_seconds or 0, math.inf if max_seconds is None else max_seconds
        chosen = [
            id
            for id, row in self.ids.items()
            if low <= row[2] <= high
            and (folder is None or self.paths[id].is_relative_to(folder))
            and text != "nothing at all"
        ]
        weak = text == "gibberish"
        message = "no confident match: 38 % of unrelated texts match better" if weak else ""
        moments = self.moments(chosen, 62.0 if weak else 99.67)[:k]
        confident = bool(moments) and not weak
        return Results(
            query=text, moments=moments, confident=confident, searched=40, message=message
        )

    def similar(self, window, k=10):
        make_condition("id", [window])  # refuses what is no id, as the database's
        content = window.split("-")[0]
        if content not in self.ids:
            raise KeyError(window)
        others = [id for id in reversed(self.ids) if id != content]
        moments = self.moments(others, math.nan)[:k]
        return Results(query="", moments=moments, confident=True, searched=40, message="")

    def moments(self, ids, best):
        return tuple(
            Moment(
                file=self.paths[id],
                start=2.0,
                end=5.5,
                at=3.0,
                score=0.31 - place / 100,
                percentile=best - 3.3 * place,
                window=f"{id}-00001",
                file_id=id,
                copies=(self.root / "copy.mp4",) if place == 2 else (),
            )
            for place, id in enumerate(ids)
        )

    def thumbnail(self, window):
        make_condition("id", [window])
        content = window.split("-")[0]
        if content not in self.ids:
            return None
        file = io.BytesIO()
        picture(3, *self.ids[content][3:]).save(file, "jpeg")
        return file.getvalue()

    def merged(self, window):
        make_condition("id", [window])
        assert self.go_on.wait(20)
        content = window.split("-")[0]
        if content not in self.ids:
            return None
        sheet = Image.new("RGB", (1300, 420), "white")
        for place in range(4):
            sheet.paste(picture(2 * place, *self.ids[content][3:]), (20 + 320 * place, 20))
        file = io.BytesIO()
        sheet.save(file, "png")
        return file.getvalue()

    def file(self, file_id):
        if file_id not in self.paths:
            return None
        path = self.paths[file_id].resolve()
        return path if path.is_file() and path.is_relative_to(self.root.resolve()) else None

    def folders(self):
        return [str(self.root), *sorted({str(path.parent) for path in self.paths.values()})]

    def stats(self):
        return IndexStats(
            address="", folders=(str(self.root),), videos=len(VIDEOS), failed=1, windows=40,
            hours=1.2, model="a model", method="tempme", frames=12, fps=1.0, overlap=0.5,
        )  # fmt: skip

    def refresh(self):
        self.refreshed += 1


def picture(seconds, ground, figure):
    """A disc that moves and grows, before hills."""
    image = Image.new("RGB", SIZE, ground)
    draw = ImageDraw.Draw(image)
    draw.ellipse((-80, 110, 220, 330), fill="#5f7560")
    draw.ellipse((120, 130, 420, 330), fill="#3f5550")
    x, radius = 30 + 32 * seconds, 18 + 2.5 * seconds
    draw.ellipse((x - radius, 90 - radius, x + radius, 90 + radius), fill=figure)
    return image


def write_video(path, ground, figure, seconds=8):
    """H.264 in an MP4; in an AVI what no browser knows."""
    playable = path.suffix == ".mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"} if playable else {}) as file:
        options = {"preset": "ultrafast", "g": "10", "threads": "1"} if playable else {}
        stream = file.add_stream("libx264" if playable else "mpeg4", rate=RATE, options=options)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for number in range(RATE * seconds):
            image = picture(number / RATE, ground, figure)
            frame = av.VideoFrame.from_ndarray(np.asarray(image))
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


@contextlib.contextmanager
def serving(app):
    """Serves an application in a thread; gives the port."""
    server = uvicorn.Server(make_server_config(app))
    with listen("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield listening.getsockname()[1]
        server.should_exit = server.force_exit = True  # whoever is still connected
        thread.join(10)
