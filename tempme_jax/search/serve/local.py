"""Searches that `tempme search` passes on to a `tempme serve` of the same index on this machine.

The server has the model and the vectors in memory, so it answers in a fraction of the time that it
takes to open them. It listens at a socket file in the folder of the index, which only its owner can
open; both sides check whose the other one is. One line of JSON asks, one line answers, and nothing
but searches by text is answered. Without a server, or if anything is amiss, the client searches
itself.
"""

import contextlib
import json
import logging
import os
import socket
import socketserver
import stat
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from tempme_jax import fields
from tempme_jax.search.store.locking import find_local_folder
from tempme_jax.version import __version__

if TYPE_CHECKING:  # it imports what a client does without
    from tempme_jax.search.serve.service import Service

NAME = "serve.sock"
# Most bytes of a line that asks. The longest query, 20,000 escaped characters, needs most of it.
LONGEST = 256 * 1024
# Most seconds for which either side waits for the other.
PATIENCE = 10.0
# A socket's path has room for so many bytes; a longer one is left out.
LONGEST_PATH = 100
log = logging.getLogger(__name__)


class LocalQuery(TypedDict):
    """A search by text, as for `VideoIndex.search`; `folder` is an absolute path or null.

    `place` is what `identify_folder` says of the index, since a socket moves with its folder, and
    then its server may have another index.
    """

    version: str
    place: str
    text: str
    k: int
    folder: str | None
    per_video: int | None


def ask(
    uri: str, text: str, k: int, folder: str | None, per_video: int | None = None
) -> dict[str, Any] | None:
    """Ask the server of an index, if one of the same user runs on this machine.

    Args:
        uri: address of the index.
        text, k, folder, per_video: as for `VideoIndex.search`.

    Returns:
        `results` as of `results.convert_to_json`, `warning`, a sentence about the text or "", and
        `outdated`, the number of files that an older version read; None without an answer.
    """
    place = find_socket(uri)
    if place is None:
        return None
    folder = None if folder is None else os.path.abspath(os.path.expanduser(folder))
    try:
        query = LocalQuery(
            version=__version__, place=identify_folder(place.parent), text=text, k=k,
            folder=folder, per_video=per_video,
        )  # fmt: skip
        # Who could put a socket there in another's name could answer what they like.
        about = os.lstat(place)
        if not stat.S_ISSOCK(about.st_mode) or about.st_uid != os.getuid():
            return None
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(PATIENCE)
            asked.connect(str(place))
            asked.sendall(json.dumps(query).encode() + b"\n")
            with asked.makefile("rb") as lines:
                answer = json.loads(lines.readline())
    except (OSError, ValueError):  # nobody listens any more
        return None
    return answer if isinstance(answer, dict) and "results" in answer else None


def has_socket(uri: str) -> bool:
    """Return whether there is a socket in the folder of an index."""
    place = find_socket(uri)
    return place is not None and os.path.lexists(place)


def find_socket(uri: str) -> Path | None:
    """Return the place of the socket of an index; None if it can have none."""
    folder = find_local_folder(uri)
    if folder is None or not hasattr(socket, "AF_UNIX"):
        return None
    place = folder / NAME
    return place if len(os.fsencode(place)) <= LONGEST_PATH else None


def identify_folder(folder: Path) -> str:
    """Return what is the same for all names of a folder, and for no other folder."""
    about = os.stat(folder)
    return f"{about.st_dev}-{about.st_ino}"


@contextlib.contextmanager
def answer_searches(service: "Service") -> Iterator[None]:
    """Warm the service up and answer searches of the same user while the context is open."""
    servers: list[LocalServer] = []
    lock, ended = threading.Lock(), threading.Event()

    def run() -> None:
        service.warm()  # a client that came earlier would wait for longer than for itself
        with lock:
            if ended.is_set() or not (server := open_server(service)):
                return
            servers.append(server)
        server.serve_forever(poll_interval=0.2)

    threading.Thread(target=run, daemon=True).start()
    try:
        yield
    finally:
        with lock:
            ended.set()
        for server in servers:
            server.close()


def open_server(service: "Service") -> "LocalServer | None":
    """Listen at the socket of the service's index; None if that cannot be, or another one does."""
    place = find_socket(service.index.uri) if service.index.exists else None
    if place is None or is_answered(place):
        return None
    try:
        place.unlink(missing_ok=True)  # of a server that was killed
        return LocalServer(service, place)
    except OSError:  # a folder that cannot be written to, or without sockets
        return None


def is_answered(place: Path) -> bool:
    """Return whether somebody listens at a socket."""
    with socket.socket(socket.AF_UNIX) as asked:
        try:
            asked.connect(str(place))
            return True
        except OSError:
            return False


class LocalServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Answers searches of the same user from a service."""

    daemon_threads = True

    def __init__(self, service: "Service", place: Path):
        """Listen at a place where nothing is; raise an OSError if that cannot be."""
        self.service, self.place = service, place
        self.lock = threading.Lock()
        self.outdated: tuple[object, int] = (None, 0)
        super().__init__(str(place), Handler, bind_and_activate=False)
        before = os.umask(0o177)  # from the beginning, nobody else can open it
        try:
            self.server_bind()
            self.made = os.lstat(place).st_ino
            self.server_activate()
        except OSError:
            self.server_close()
            raise
        finally:
            os.umask(before)

    def close(self) -> None:
        """Stop listening, and remove the socket."""
        self.shutdown()
        self.server_close()
        with contextlib.suppress(OSError):
            if os.lstat(self.place).st_ino == self.made:
                self.place.unlink()

    def answer(self, line: bytes) -> dict[str, Any]:
        """Answer a line that asks."""
        from tempme_jax.search.query.results import convert_to_json
        from tempme_jax.search.serve.searching import explain_cut

        query: LocalQuery = fields.parse_fields(line, LocalQuery, "the query")
        if query["version"] != __version__:
            raise ValueError(f"this is version {__version__}")
        index = self.service.index
        if query["place"] != identify_folder(Path(index.uri)):
            raise ValueError(f"this is the server of {index.uri}")
        with self.lock:
            self.service.refresh()
            if self.outdated[0] != index.version:
                self.outdated = index.version, index.stats().outdated
        filters = {"folder": query["folder"], "per_video": query["per_video"]}
        results = index.search(query["text"], query["k"], **filters)
        return {
            "results": convert_to_json(results),
            "warning": explain_cut(self.service.open_model().tokenizer, query["text"]),
            "outdated": self.outdated[1],
        }


class Handler(socketserver.StreamRequestHandler):
    """Answers one client."""

    timeout = PATIENCE

    def handle(self) -> None:
        """Read a line and answer it; who is another user is not answered."""
        server = self.server
        assert isinstance(server, LocalServer)
        if not is_own(self.connection):
            return
        try:
            answer = server.answer(self.rfile.readline(LONGEST))
        except Exception as error:  # the client searches itself, and says what is wrong
            log.debug("a search was not answered", exc_info=True)
            answer = {"error": str(error)}
        with contextlib.suppress(OSError):
            self.wfile.write(json.dumps(answer).encode() + b"\n")


def is_own(connection: socket.socket) -> bool:
    """Return whether the other side is a process of the same user, where the system tells it."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # only the owner can open the socket
    about = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return struct.unpack("3i", about)[1] == os.getuid()
