"""The videos that a model was trained on, and how many of a split are among them.

A workdir keeps trained_on.txt: a line for each video of the training split, with a hash of its id
and one of samples of its file. Its own hash stands in identity.json.
"""

import hashlib
import pathlib

from tempme_jax.datasets.prepared import Prepared
from tempme_jax.files import write_text
from tempme_jax.training.workdir import (
    TRAINED_ON,
    WorkdirError,
    hash_file,
    read_identity,
)

# Characters of each hash.
LENGTH = 16
# Stands for a file that is not known.
UNKNOWN = "-"

# The hash of the file of each video, by the hash of its id.
Files = dict[str, str]


def list_files(prepared: Prepared, *, rendered: bool) -> Files:
    """List the videos of a split by hashes, in a fixed order.

    The files of `rendered` videos do not count, as they differ with the version of the encoder.
    """
    listed = {}
    for video_id, file in zip(prepared.ids, prepared.files, strict=True):
        digest = hashlib.sha256(video_id.encode()).hexdigest()[:LENGTH]
        listed[digest] = UNKNOWN if rendered or not file else file[:LENGTH]
    return dict(sorted(listed.items()))


def write_trained_on(folder: pathlib.Path, files: Files) -> str:
    """Note in a workdir what it is trained on; return the hash of what was written."""
    write_text(folder / TRAINED_ON, "".join(f"{one} {file}\n" for one, file in files.items()))
    return hash_file(folder / TRAINED_ON)


def read_trained_on(folder: pathlib.Path) -> Files | None:
    """Read what a workdir was trained on; None if an earlier version did not note it.

    Raises:
        WorkdirError: it is not as it was written.
    """
    identity, file = read_identity(folder), folder / TRAINED_ON
    if not identity or "trained_on" not in identity or not file.exists():
        return None
    try:
        if hash_file(file) == identity["trained_on"]:
            return dict(line.split() for line in file.read_text().splitlines())
        problem = "has changed"
    except (OSError, ValueError) as error:
        problem = f"cannot be read ({error})"
    raise WorkdirError(
        f"{file} lists the videos that were trained on, and {problem}. Restore it from a copy; or "
        "remove it, and results do not say any more which videos the model has seen"
    )


def describe_overlap(trained: Files, measured: Files) -> list[str]:
    """Say how many videos of those measured were trained on; an item for each finding.

    >>> describe_overlap({"a": "1", "b": "2"}, {"b": "2", "c": "1", "d": "5"})
    ['MEASURED ON VIDEOS THAT IT WAS TRAINED ON: 2 of 3']
    """
    files = set(trained.values()) - {UNKNOWN}
    seen = namesakes = 0
    for video, file in measured.items():
        was = trained.get(video)
        if file in files or (was and UNKNOWN in (was, file)):
            seen += 1
        elif was:
            namesakes += 1
    found = []
    if seen:
        found.append(f"MEASURED ON VIDEOS THAT IT WAS TRAINED ON: {seen} of {len(measured)}")
    if namesakes:
        found.append(
            f"{namesakes} of {len(measured)} videos are named as ones that it was trained on, but "
            "have other files"
        )
    return found
