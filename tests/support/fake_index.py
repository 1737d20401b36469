"""An index of a few generated videos for the tests of the search service, without a model."""

import contextlib
import dataclasses
import datetime
import io
import math
import os
import threading
import time
import types

import av
import numpy as np
import uvicorn
from PIL import Image, ImageDraw

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.query.filters import Filters, fold_name, make_name_test
from tempme_jax.search.query.names import find_word, split_words
from tempme_jax.search.query.results import Moment, NameMatch, Results, ScoreLine
from tempme_jax.search.saving.sources import find_source
from tempme_jax.search.serve.server import listen, make_server_config
from tempme_jax.search.stats import IndexStats
from tempme_jax.search.store.lance import make_condition
from tempme_jax.search.store.rows import FileRow
from tempme_jax.text.bpe import Tokenizer

RATE, SIZE = 6, (320, 180)
# A name that is HTML, and that of a file that no browser plays.
HOSTILE = '<img src=x onerror="document.title=1">.mp4'
UNPLAYABLE = "old camera.avi"
# The address that the service has in tests, and the id of the first video, beach.mp4.
HERE = "http://127.0.0.1:8765"
BEACH = f"{0:024x}"
# folder, name, seconds that the index says it lasts, colours of background and of what moves
VIDEOS = (
    ("holiday", "beach.mp4", 8, "#78b7d9", "#e8503a"),
    ("holiday", UNPLAYABLE, 8, "#8aa37b", "#3b2f2f"),
    ("holiday/mountains", "a long walk over the pass to the lake.mp4", 240, "#a9b8c9", "#4f6d3a"),
    ("work", HOSTILE, 30, "#d9c9a3", "#333a56"),
    ("work", "lecture.mp4", 4000, "#2c3547", "#f0e6c8"),
    ("work", "grüße 東京.mp4", 50, "#52465f", "#f28fb1"),
)  # fmt: skip


# Verdicts of the moments of an answer that is not weak.
VERDICTS = ("strong", "strong", "possible", "possible", "weak", "weak")
# Where the moments of a video begin that is searched alone, the best first.
STARTS = (2.0, 0.0, 4.0)
WHEN = "2026-11-28T10:15:00+00:00"
# What an index with vectors of frames says of each moment, for the query "by frames".
BY_FRAMES = {
    "best": 4.5, "at": 4.5,
    "curve": ((2.5, 0.18), (3.5, 0.23), (4.5, 0.3), (5.5, 0.21)),
}  # fmt: skip


class FakeStats(IndexStats):
    """Numbers of an index that is not on the disk."""

    last_run, size = WHEN, None


class FakeIndex:
    """What the service uses of a VideoIndex; some queries have their own answers."""

    def __init__(self, root):
        self.root, self.uri = root, str(root / ".tempme")  # which is not there
        self.exists = True
        self.store = types.SimpleNamespace(version=1)
        self.header = {"model": {"architecture": {}}}
        self.model = types.SimpleNamespace(
            tokenizer=Tokenizer(max_words=32),
            num_frames=2,
            arch=types.SimpleNamespace(image_size=32, resize="crop"),
            embed_video=lambda frames: np.full((1, 4), 0.5, np.float32),
        )
        self.ids = {f"{number:024x}": row for number, row in enumerate(VIDEOS)}
        self.paths = {id: root / row[0] / row[1] for id, row in self.ids.items()}
        self.asked, self.options, self.refreshed = [], {}, 0
        # A search for "slow", and a picture of what was merged, wait for it.
        self.go_on = threading.Event()
        self.go_on.set()
        self.rows = {}
        for place, (id, row) in enumerate(self.ids.items()):
            path = self.paths[id]
            path.parent.mkdir(parents=True, exist_ok=True)
            write_video(path, *row[3:])
            changed = datetime.datetime(2024, 1 + place, 12, 12)
            os.utime(path, (changed.timestamp(),) * 2)
            self.rows[id] = FileRow(
                id, "..", os.fsencode(path.relative_to(root)), path.stat().st_size,
                path.stat().st_mtime_ns, content=id, seconds=row[2], windows=7,
            )  # fmt: skip

    @property
    def version(self):
        return self.store.version

    def search(self, text, k=10, *, rerank=0, **options):
        limits = (options.get(name) for name in ("folder", "min_seconds", "max_seconds"))
        self.asked.append((text, k, *limits))
        if text == "broken":
            raise RuntimeError("a secret of the machine")
        if text == "damaged":
            raise VideoIndexError("the index is damaged; repair it with tempme index --verify")
        if text == "slow":
            assert self.go_on.wait(20)
        weak = text == "gibberish"
        ids = [] if text == "nothing at all" else self.ids
        message = "nothing fits well: 38 % of unrelated texts fit better" if weak else ""
        return self.answer(text, ids, 38.0 if weak else 99.67, k, message=message, **options)

    def search_mixed(self, query, k=10, **options):
        self.asked.append((query.text, k, query.without, query.weight))
        both = query.text and query.picture is not None
        kind = "mixed" if both else "text" if query.text else query.kind
        return self.answer(query.text, self.ids, 99.67, k, kind=kind, **options)

    def similar(self, window, k=10, **options):
        make_condition("id", [window])  # refuses what is no id, as the database's
        content = window.split("-")[0]
        if content not in self.ids:
            raise KeyError(window)
        others = [id for id in reversed(self.ids) if id != content]
        return self.answer("", others, math.nan, k, kind="similar", **options)

    def answer(self, query, ids, best, k, *, message="", kind="text", lines=False, **options):
        self.options = {"lines": lines, **options}
        left_out = options.pop("exclude_content", None)
        options.pop("per_video", None)
        filters = Filters(**options)
        ids = [id for id in ids if id != left_out and self.passes(id, filters)]
        moments = self.moments(ids, best)
        if len(ids) == 1 and str(self.paths[ids[0]]) == str(filters.folder):
            moments = self.moments(ids * len(STARTS), best, STARTS)
        moments = moments[:k]
        weak = bool(moments) and moments[0].verdict == "weak"
        said = self.said(ids[0]) if query == "beach" and ids else ()
        if by_frames := query == "by frames":
            moments = tuple(dataclasses.replace(one, **BY_FRAMES) for one in moments)
        return Results(
            query=query, said=said, moments=moments, confident=bool(moments) and not weak,
            searched=40, message=message, kind=kind, names=self.names(query),
            levels=(0.17, 0.22, 0.26), tau=0.05 if by_frames else None,
            lines=tuple(self.line(id) for id in ids) if lines else (),
        )  # fmt: skip

    def passes(self, id, filters):
        path, row = self.paths[id], self.rows[id]
        low, high = filters.min_seconds or 0, filters.max_seconds
        first, last = filters.changed
        name = fold_name(str(path.relative_to(self.root)))
        return (
            low <= row.seconds <= (math.inf if high is None else high)
            and (filters.folder is None or path.is_relative_to(filters.folder))
            and (not filters.name or make_name_test(filters.name).search(name))
            and first <= row.mtime_ns / 1e9 < last
        )

    def moments(self, ids, best, starts=None):
        return tuple(
            Moment(
                file=self.paths[id],
                start=starts[place] if starts else 2.0,
                end=starts[place] + 2 if starts else 5.5,
                at=starts[place] if starts else 3.0,
                score=0.31 - place / 100,
                percentile=best - 3.3 * place,
                window=f"{id}-{place if starts else 1:05d}",
                file_id=id,
                copies=(self.root / "copy.mp4",) if place == 2 else (),
                verdict="weak" if best < 50 else VERDICTS[place],
            )
            for place, id in enumerate(ids)
        )

    def said(self, id):
        (moment,) = self.moments([id], math.nan)
        return (
            dataclasses.replace(
                moment, score=math.nan, found_in="said", text="to the <beach>", subtitles="a.srt"
            ),
        )

    def line(self, id):
        seconds = self.rows[id].seconds
        scores = tuple(0.2 + 0.08 * math.sin(1.3 * place) for place in range(int(min(seconds, 90))))
        return ScoreLine(file_id=id, seconds=seconds, scores=(None, *scores[1:]))

    def names(self, query):
        words = split_words(query)
        found = [
            (path, is_folder, id)
            for id, file in self.paths.items()
            for path, is_folder in ((file, False), (file.parent, True))
            if words and all(find_word(word, path.name) >= 0 for word in words)
        ]
        folders = [path for path, is_folder, _ in found if is_folder]
        return tuple(
            NameMatch(
                path=path, is_folder=is_folder, count=max(1, folders.count(path)), file_id=id,
                window=f"{id}-00000", seconds=self.rows[id].seconds,
            )
            for path, is_folder, id in {path: (path, *rest) for path, *rest in found}.values()
        )  # fmt: skip

    def find_row(self, file_id):
        return self.rows.get(file_id)

    def find_path(self, file_id):
        return self.paths.get(file_id)

    def find_vector(self, window):
        known = window.split("-")[0] in self.ids
        return np.full(4, 0.5, np.float32) if known else None

    def find_own_part(self, file):
        return None

    def locate(self, file_id):
        return find_source(str(self.root / ".tempme"), [self.rows[file_id]])

    def failures(self):
        return [(os.fsencode(self.root / "<b>broken.mp4"), "open", "the file is cut short")]

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
        return FakeStats(
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
