"""MSR-VTT: 10,000 clips of web videos, 20 captions each (Xu et al., CVPR 2016)."""

import collections
import pathlib
import shutil
import urllib.request
import zipfile
from collections.abc import Sequence

import rich.console
import rich.progress

from tempme_jax.datasets.annotations import Annotated, read_csv, read_json_list, wrong
from tempme_jax.datasets.base import Video
from tempme_jax.datasets.builder import VideoText

URLS = {
    "msrvtt_data.zip": "https://github.com/ArrowLuo/CLIP4Clip/releases/download/v0.0/msrvtt_data.zip",
    "MSRVTT.zip": "https://www.robots.ox.ac.uk/~maxbain/frozen-in-time/data/MSRVTT.zip",
}


class Msrvtt(Annotated, VideoText):
    """One caption is one pair; the test is the 1,000 pairs of the split 1k-A.

    Variants: "9k" and "7k", by the number of videos to train on. There is no official validation
    split: `Annotated.held_out` takes 500 of these videos. To train on all, train on
    "train+validation".
    """

    VARIANTS = ("9k", "7k")
    EXPECTED = {
        (variant, split): count
        for variant, trained_on in {"9k": 8500, "7k": 6510}.items()
        for split, count in {"train": trained_on, "validation": 500, "test": 1000}.items()
    }
    PUBLIC_URLS = URLS
    HOMEPAGE = "https://github.com/ArrowLuo/CLIP4Clip"

    def videos(self, split: str) -> list[Video]:
        """The videos of a split; see `VideoText.videos`."""
        captions = self._tested() if split == "test" else self._trained_on()
        held_out = set() if split == "test" else self.held_out(captions, 500)
        return [
            self.video(name, texts, name)
            for name, texts in captions.items()
            if (name in held_out) == (split == "validation")
        ]

    def _tested(self) -> dict[str, list[str]]:
        captions = {}
        for row in read_csv(self.annotation("MSRVTT_JSFUSION_test.csv"), ["video_id", "sentence"]):
            captions[row.new("video_id", captions)] = [row.text("sentence")]
        return captions

    def _trained_on(self) -> dict[str, list[str]]:
        said, file = collections.defaultdict(list), self.annotation("MSRVTT_data.json")
        for entry in read_json_list(file, ["caption", "video_id"], key="sentences"):
            said[entry.text("video_id")].append(entry.text("caption"))
        captions = {}
        listed = self.annotation(f"MSRVTT_train.{self.builder_config.variant}.csv")
        for row in read_csv(listed, ["video_id"]):
            name = row.new("video_id", captions)
            if name not in said:
                raise row.error(f"{name!r} has no caption in {file.name}")
            captions[name] = said[name]
        return captions


def download(root: pathlib.Path, archives: Sequence[str] = tuple(URLS)) -> None:
    """Fetches what is public: the annotations and the videos of MSR-VTT.

    A folder that is there already stays as it is. A zip file goes once it is unpacked.

    Args:
        root: the folder that gets annotations/ and videos/.
        archives: which of `URLS`.

    Raises:
        OSError: if a file cannot be fetched or written.
        AnnotationError: if what came is no zip file.
    """
    for name in archives:
        folder = root / ("videos" if name == "MSRVTT.zip" else "annotations")
        if not folder.exists():
            root.mkdir(parents=True, exist_ok=True)
            if not (root / name).exists():
                fetch(URLS[name], root / name)
            unpack(root / name, folder)
            (root / name).unlink()


def fetch(url: str, file: pathlib.Path) -> None:
    """Downloads a file, whole or not at all, with a progress bar."""
    partial = file.with_name(f"{file.name}.part")
    with urllib.request.urlopen(url, timeout=60) as response, partial.open("wb") as target:
        size = int(response.headers.get("Content-Length") or 0)
        settings = {"description": file.name, "console": rich.console.Console(stderr=True)}
        with rich.progress.wrap_file(response, total=size, **settings) as source:
            shutil.copyfileobj(source, target)
    if size and partial.stat().st_size != size:
        raise OSError(f"{url} broke off after {partial.stat().st_size} of {size} bytes; try again")
    partial.rename(file)


def unpack(archive: pathlib.Path, folder: pathlib.Path) -> None:
    """Unpacks the videos and annotations of a zip side by side into a new folder, or nothing.

    Of files of one name the first is taken.
    """
    partial = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        with zipfile.ZipFile(archive) as members:
            for member in members.infolist():
                # Only the last part of the name counts, so that nothing lands outside.
                file = partial / pathlib.PurePosixPath(member.filename).name
                wanted = file.suffix in (".mp4", ".csv", ".json") and file.name[0] != "."
                if wanted and not member.is_dir() and not file.exists():
                    with members.open(member) as source, file.open("xb") as target:
                        shutil.copyfileobj(source, target)
    except zipfile.BadZipFile as error:
        raise wrong(archive, f"is no zip file ({error})", "", "remove it and try again") from error
    partial.rename(folder)
