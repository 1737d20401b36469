"""MSR-VTT: 10,000 short web videos with 20 captions each (Xu et al., CVPR 2016)."""

import collections
import pathlib
import shutil
import urllib.request
import zipfile
from collections.abc import Sequence

from tempme_jax import screen
from tempme_jax.datasets.annotated import AnnotatedSet
from tempme_jax.datasets.annotations import make_error
from tempme_jax.datasets.prepare import VideoText
from tempme_jax.datasets.readers import read_csv, read_json_list
from tempme_jax.files import write_whole

URLS = {
    "msrvtt_data.zip": "https://github.com/ArrowLuo/CLIP4Clip/releases/download/v0.0/msrvtt_data.zip",
    "MSRVTT.zip": "https://www.robots.ox.ac.uk/~maxbain/frozen-in-time/data/MSRVTT.zip",
}


class Msrvtt(AnnotatedSet, VideoText):
    """MSR-VTT: each caption is one pair; the test split is the 1,000 pairs of the split 1k-A.

    The variants "9k" and "7k" differ in the number of training videos. There is no official
    validation split, so `AnnotatedSet.choose_held_out` takes 500 of these videos. To train on all
    of them, train on "train+validation".
    """

    VARIANTS = ("9k", "7k")
    EXPECTED = {
        (variant, split): count
        for variant, trained_on in {"9k": 8500, "7k": 6510}.items()
        for split, count in {"train": trained_on, "validation": 500, "test": 1000}.items()
    }
    PUBLIC_URLS = URLS
    HELD_OUT = 500
    OWN = {"train": "MSRVTT_train.{variant}.csv", "test": "MSRVTT_JSFUSION_test.csv"}
    LISTS = {"train": "msrvtt_ret_train{variant}.json", "test": "msrvtt_ret_test1k.json"}
    HOMEPAGE = "https://github.com/ArrowLuo/CLIP4Clip"

    def read_captions(self, split: str) -> dict[str, list[str]]:
        """Read the captions of a split; see `AnnotatedSet.read_captions`."""
        return self._read_test_captions() if split == "test" else self._read_training_captions()

    def _read_test_captions(self) -> dict[str, list[str]]:
        captions = {}
        file = self.find_annotations(self.OWN["test"])
        for row in read_csv(file, ["video_id", "sentence"]):
            captions[row.get_unique("video_id", captions)] = [row.get_text("sentence")]
        return captions

    def _read_training_captions(self) -> dict[str, list[str]]:
        texts, file = collections.defaultdict(list), self.find_annotations("MSRVTT_data.json")
        for entry in read_json_list(file, ["caption", "video_id"], key="sentences"):
            texts[entry.get_text("video_id")].append(entry.get_text("caption"))
        captions = {}
        listed = self.find_annotations(self.OWN["train"].format(variant=self.storage.variant))
        for row in read_csv(listed, ["video_id"]):
            name = row.get_unique("video_id", captions)
            if name not in texts:
                raise row.make_error(f"{name!r} has no caption in {file.name}")
            captions[name] = texts[name]
        return captions


def download(root: pathlib.Path, archives: Sequence[str] = tuple(URLS)) -> None:
    """Download the public annotations and videos of MSR-VTT.

    A folder that exists is left as it is. A zip file is removed once it is unpacked.

    Args:
        root: the folder that gets annotations/ and videos/.
        archives: keys of `URLS`.

    Raises:
        OSError: a file cannot be downloaded or written.
        AnnotationError: a downloaded file is not a zip file.
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
    """Download a file, whole or not at all, with a progress bar."""
    with urllib.request.urlopen(url, timeout=60) as response, write_whole(file) as partial:
        size = int(response.headers.get("Content-Length") or 0)
        settings = {"unit": "B", "unit_scale": True}
        bar = screen.make_progress_bar(label=file.name, total=size or None, **settings)
        with bar, partial.open("wb") as target:
            while block := response.read(2**20):
                bar.update(target.write(block))
        done = partial.stat().st_size
        if size and done != size:
            raise OSError(f"{url} broke off after {done} of {size} bytes; try again")


def unpack(archive: pathlib.Path, folder: pathlib.Path) -> None:
    """Unpack the videos and annotations of a zip file side by side into a new folder.

    The folder gets its name when it is complete. Of several files of one name the first is taken.
    Folders within the zip file are ignored, so no file is written outside the new folder.
    """
    partial = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        with zipfile.ZipFile(archive) as members:
            for member in members.infolist():
                file = partial / pathlib.PurePosixPath(member.filename).name
                wanted = file.suffix in (".mp4", ".csv", ".json") and file.name[0] != "."
                if wanted and not member.is_dir() and not file.exists():
                    with members.open(member) as source, file.open("xb") as target:
                        shutil.copyfileobj(source, target)
    except zipfile.BadZipFile as error:
        raise make_error(
            archive, f"is not a zip file ({error})", "", "remove it and try again"
        ) from error
    partial.rename(folder)
