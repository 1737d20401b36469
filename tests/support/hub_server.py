"""A stand-in for the Hugging Face Hub on this machine, as far as downloads of files ask it."""

import contextlib
import hashlib
import http.server
import threading
from pathlib import Path

from huggingface_hub import constants

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.ThreadingHTTPServer):
    """Serves the files of a folder, which are named repository/file; notes what it was asked."""

    daemon_threads = True

    def __init__(self, folder: Path, handler=None):
        """Listen at a free port."""
        self.folder, self.asked, self.failing, self.commit = folder, [], 0, COMMIT
        super().__init__(("127.0.0.1", 0), handler or Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as the Hub does."""

    server: Hub

    def do_HEAD(self):
        """Tell about a file."""
        self.answer()

    def do_GET(self):
        """Send a file."""
        if content := self.answer():
            self.wfile.write(content)

    def answer(self) -> bytes | None:
        """Send the head of the answer; return the file."""
        repository, _, name = self.path.lstrip("/").partition("/resolve/")
        name = name.partition("/")[2]
        self.server.asked.append((self.command, repository, name))
        if self.server.failing:
            return self.send_head(self.server.failing)
        folder = self.server.folder / repository
        if not folder.is_dir():
            return self.send_head(404, {"X-Error-Code": "RepoNotFound"})
        if not (folder / name).is_file():
            absent = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": self.server.commit}
            return self.send_head(404, absent)
        content = (folder / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        size, commit = str(len(content)), self.server.commit
        self.send_head(
            200, {"X-Repo-Commit": commit, "ETag": f'"{digest}"', "Content-Length": size}
        )
        return content

    def send_head(self, code: int, headers: dict[str, str] | None = None) -> None:
        """Send the status and headers."""
        self.send_response(code)
        for name, value in ({"Content-Length": "0"} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format, *args):
        """Say nothing."""


@contextlib.contextmanager
def serve_hub(folder: Path, handler=None):
    """Serve a folder of repositories while the context is open."""
    server = Hub(folder, handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def point_at(address: str, monkeypatch) -> None:
    """Let huggingface_hub of this process ask another address, until a test is over."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
