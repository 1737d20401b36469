"""A stand-in for the Hugging Face Hub that also takes uploads, as huggingface_hub makes them."""

import base64
import hashlib
import json

import yaml
from hub_server import Handler

TOKEN = "hf_of_this_test"


class UploadHandler(Handler):
    """Makes repositories, takes large files by the protocol of LFS, and commits.

    A repository belongs to "me"; what is asked without the right token is refused.
    """

    large: dict[str, bytes] = {}

    def do_GET(self):
        """Tell about a repository, or send a file."""
        kind, _, repository = self.path.partition("/api/models/")
        if kind:
            return super().do_GET()
        folder = self.server.folder / repository.partition("?")[0]
        if not folder.is_dir():
            return self.send_head(404, {"X-Error-Code": "RepoNotFound"})
        card = folder / "README.md"
        data = read_card_data(card.read_text()) if card.exists() else None
        self.send_json({"id": repository, "sha": self.server.commit, "cardData": data})

    def do_POST(self):
        """Take one of the calls that an upload consists of."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(("POST", self.path, ""))
        if self.server.failing:
            return self.send_head(self.server.failing)
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self.send_json({"error": "Invalid credentials in Authorization header"}, 401)
        if self.path.endswith("/commit/main"):
            return self.commit([json.loads(line) for line in body.splitlines()])
        given = json.loads(body)
        if self.path == "/api/repos/create":
            return self.create(f"{given['organization']}/{given['name']}")
        if self.path == "/api/validate-yaml":
            assert isinstance(read_card_data(given["content"]), dict)
            return self.send_json({"errors": [], "warnings": []})
        if self.path.endswith("/preupload/main"):
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for file in given["files"]
            ]
            return self.send_json({"files": modes})
        assert self.path.endswith(".git/info/lfs/objects/batch"), self.path
        actions = [
            one | {"actions": {"upload": {"href": f"{self.server.address}/large/{one['oid']}"}}}
            for one in given["objects"]
        ]
        self.send_json({"objects": actions, "transfer": "basic"})

    def do_PUT(self):
        """Take a large file, in chunks or whole."""
        content = b""
        if self.headers["Transfer-Encoding"] == "chunked":
            while length := int(self.rfile.readline(), 16):
                content += self.rfile.read(length)
                self.rfile.readline()
            self.rfile.readline()
        else:
            content = self.rfile.read(int(self.headers["Content-Length"]))
        digest = self.path.rpartition("/")[2]
        assert hashlib.sha256(content).hexdigest() == digest
        self.large[digest] = content
        self.send_head(200)

    def create(self, repository):
        """Make a repository."""
        if not repository.startswith("me/"):
            return self.send_head(403)
        folder = self.server.folder / repository
        if folder.is_dir():
            return self.send_json({"url": f"{self.server.address}/{repository}"}, 409)
        folder.mkdir(parents=True)
        self.send_json({"url": f"{self.server.address}/{repository}"})

    def commit(self, lines):
        """Put what was sent into a repository."""
        repository = self.path.split("/api/models/")[1].rpartition("/commit/")[0]
        for line in lines[1:]:
            value = line["value"]
            large = line["key"] == "lfsFile"
            content = self.large[value["oid"]] if large else base64.b64decode(value["content"])
            (self.server.folder / repository / value["path"]).write_bytes(content)
        self.server.commit = hashlib.sha1(self.server.commit.encode()).hexdigest()
        address = f"{self.server.address}/{repository}/commit/{self.server.commit}"
        self.send_json({"commitUrl": address, "commitOid": self.server.commit})

    def send_json(self, value, code=200):
        """Send an answer."""
        content = json.dumps(value).encode()
        self.send_head(code, {"Content-Length": str(len(content))})
        self.wfile.write(content)


def read_card_data(card):
    """Return the data at the beginning of a model card."""
    return yaml.safe_load(card.split("---")[1])
