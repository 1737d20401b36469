"""The tools that an assistant may call, and the server that offers them on stdin and stdout.

They read and never write, and reach nothing but the videos of the index: an assistant names videos
and moments by the ids that a search gave it, never by paths. Arguments and answers are bounded.
"""

import contextlib
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Image
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

from tempme_jax.search.index import VideoIndex
from tempme_jax.search.mcp.answers import (
    FoundMoments,
    IndexNumbers,
    convert_results,
    convert_stats,
)
from tempme_jax.search.query.results import PER_VIDEO
from tempme_jax.search.stats import is_within, make_path
from tempme_jax.text.warning import TextCutWarning
from tempme_jax.version import __version__
from tempme_jax.video.errors import VideoError
from tempme_jax.video.stills import StillRequest, read_stills
from tempme_jax.video.workers import decode_all
from tempme_jax.words import format_clock

INSTRUCTIONS = (
    "Searches the user's own videos. `search` finds moments by a description of what is seen, and "
    "by words of subtitles; `moment` shows frames of one, which tells more than its verdict; "
    "`similar` finds others that look like it. Times are in seconds from the start of a video."
)
READ_ONLY = ToolAnnotations(read_only_hint=True, open_world_hint=False)
# An answer with pictures stays below the megabyte that clients take.
MOST_FRAMES, MOST_PICTURE_BYTES = 9, 600_000
# Seconds that reading the frames of a moment may take.
MOST_SECONDS = 60.0
# What is wrong with a question, the index or a file, in a sentence.
EXPECTED = (ValueError, OSError, VideoError)

Count = Annotated[int, Field(ge=1, le=50, description="Most moments to return.")]
Seconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Text = Annotated[
    str, Field(min_length=1, max_length=2000, description="A sentence that says what is seen.")
]
Name = Annotated[
    str | None,
    Field(max_length=200, description="Only videos whose path holds this, or fits it with * or ?."),
]
Day = Annotated[
    str | None,
    Field(pattern=r"^\d{4}-\d\d-\d\d$", description="Only videos last changed from or up to it."),
]
WindowId = Annotated[
    str, Field(pattern=r"^[0-9a-f]{1,64}-[0-9]{1,10}$", description="`window` of a moment.")
]
FileId = Annotated[str, Field(pattern=r"^[0-9a-f]{1,64}$", description="`file_id` of a moment.")]


class IndexTools:
    """The tools, which answer from one index, one call at a time."""

    def __init__(self, index: VideoIndex, within: Path | None = None):
        """Answer from an index, or a folder in it; without an index yet, each call says so."""
        self._index, self._within, self._lock = index, within, threading.Lock()

    def search(
        self,
        text: Text,
        k: Count = 10,
        name: Name = None,
        min_seconds: Seconds | None = None,
        max_seconds: Seconds | None = None,
        after: Day = None,
        before: Day = None,
    ) -> FoundMoments:
        """Find the moments of videos that a sentence describes, and those in which it is said.

        `moments` are found by what is seen, best first; a verdict of "weak" is hardly a match.
        `said` are found by subtitles that hold all words of the text; to find what is said and not
        seen, give just the words.
        """
        filters = {
            "folder": self._within, "name": name, "after": after, "before": before,
            "min_seconds": min_seconds, "max_seconds": max_seconds,
        }  # fmt: skip
        chosen = {key: value for key, value in filters.items() if value is not None}
        with self._answer() as notes:
            results = self._index.search(text, k, per_video=PER_VIDEO, **chosen)
        return convert_results(results, notes)

    def similar(self, window: WindowId, k: Count = 10) -> FoundMoments:
        """Find the moments of other videos that look like a moment, given by its `window`."""
        with self._answer() as notes:
            results = self._index.similar(window, k, per_video=PER_VIDEO, folder=self._within)
        return convert_results(results, notes)

    def moment(
        self,
        file_id: FileId,
        start: Seconds,
        end: Seconds,
        frames: Annotated[int, Field(ge=1, le=MOST_FRAMES)] = 4,
        side: Annotated[
            int, Field(ge=64, le=768, description="Most pixels of the longer side.")
        ] = 512,
    ) -> list[Any]:
        """Show frames of a part of a video, evenly spread over it, each after its time."""
        with self._answer():
            if end <= start:
                raise ValueError(f"end={end:g} is not after start={start:g}")
            self._require_file(file_id)
            source = self._index.locate(file_id)
        request = StillRequest(
            file=str(source.file), root=str(source.root), state=source.state,
            start=start, end=end, count=frames, side=side,
            most_bytes=MOST_PICTURE_BYTES // frames,
        )  # fmt: skip
        found = decode_all([request], workers=1, total=MOST_SECONDS, decode=read_stills)
        with contextlib.closing(found):
            _, stills = next(found)
        if isinstance(stills, VideoError):
            raise ToolError(str(stills))
        shown: list[Any] = []
        for seconds, picture in stills:
            shown += [format_clock(seconds, tenths=True), Image(data=picture, format="jpeg")]
        return shown

    def stats(self) -> IndexNumbers:
        """Count the videos and hours that are indexed, and list their folders."""
        with self._answer():
            stats = self._index.stats(self._within)
        return convert_stats(stats, self._within)

    def _require_file(self, file_id: str) -> None:
        """Raise a KeyError unless a video is in the folder that may be searched."""
        row = self._index.find_row(file_id)
        if row is None or not is_within(make_path(self._index.uri, row), self._within):
            raise KeyError(file_id)

    @contextlib.contextmanager
    def _answer(self) -> Iterator[list[str]]:
        """See what is new in the index; a failure becomes a sentence for the assistant.

        Yields:
            A list, to which notes about the question are added at the end.
        """
        notes: list[str] = []
        with self._lock, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", TextCutWarning)
            try:
                self._index.refresh()
                yield notes
            except KeyError as error:
                raise ToolError(f"there is no {error} in the index; search again") from error
            except EXPECTED as error:
                raise ToolError(str(error)) from error
        notes += dict.fromkeys(str(one.message) for one in caught if one.category is TextCutWarning)


class StrictServer(MCPServer):
    """A server that refuses arguments which a tool does not have.

    Else an assistant would take what it made up, such as `folder`, for a filter that was used.
    """

    async def call_tool(self, name: str, arguments: dict[str, Any], context: Any = None) -> Any:
        """Call a tool."""
        schemas = {tool.name: tool.input_schema for tool in await self.list_tools()}
        allowed = schemas[name].get("properties", {}) if name in schemas else arguments
        if unknown := [key for key in arguments if key not in allowed]:
            which = f"it has {', '.join(allowed)}" if allowed else "it has none"
            raise ToolError(f"{name} has no argument {unknown[0][:100]!r}; {which}")
        return await super().call_tool(name, arguments, context)


def make_server(index: VideoIndex, within: Path | None = None) -> MCPServer:
    """Make the server of an index, or of a folder in it."""
    server = StrictServer(
        "tempme", instructions=INSTRUCTIONS, version=__version__, log_level="ERROR"
    )
    tools = IndexTools(index, within)
    for function in (tools.search, tools.similar, tools.stats):
        server.tool(annotations=READ_ONLY)(function)
    server.tool(annotations=READ_ONLY, structured_output=False)(tools.moment)
    return server
