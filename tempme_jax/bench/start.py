"""Times from the start of a command to its end, in fresh processes, as people wait for them."""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np

from tempme_jax.building import create
from tempme_jax.loading import load
from tempme_jax.networks.architecture import ARCHITECTURES
from tempme_jax.search.header import describe_source, make_header
from tempme_jax.search.query.unrelated import read_texts
from tempme_jax.search.serve.local import has_socket
from tempme_jax.search.store.rows import FileRow, WindowRow, make_window_id
from tempme_jax.search.store.sidefile import write_side_file
from tempme_jax.search.store.store import Store
from tempme_jax.text.warning import TextCutWarning
from tempme_jax.video.windows import Sampling

# Videos of the index that is searched, and windows of each.
VIDEOS, OF_A_VIDEO = 100, 10
QUERY = "a red circle moves right then up"
# Seconds in which a server has to be ready.
PATIENCE = 120.0
# Opens an index as a search does, and says what was imported until then.
MODULES = """
import json, sys
from tempme_jax.search.index import VideoIndex
VideoIndex(sys.argv[1]).folders()
large = [name for name in ("jax", "flax", "lancedb", "pyarrow", "av") if name in sys.modules]
print(json.dumps([len(sys.modules), large]))
"""


@dataclasses.dataclass(frozen=True)
class StartTimes:
    """How long commands take from their start to their end.

    Attributes:
        model: what embeds the query.
        rounds: how often each was run, but for the first search.
        seconds: the median for each command; the first search finds nothing in the user's cache.
        modules: number of modules that a search imports before it opens the model.
        large: those of them that take long.
    """

    model: str
    rounds: int
    seconds: dict[str, float]
    modules: int
    large: list[str]


def measure_start(
    model: str = "tiny-tempme",
    rounds: int = 5,
    *,
    runtime: str | None = None,
    report: Callable[[str], None] = lambda message: None,
) -> StartTimes:
    """Run commands in fresh processes, in turns, with a cache of their own.

    Args:
        model: the first argument of `load`, or the name of an architecture for random weights.
        rounds: runs of each command.
        runtime: what embeds the query, see `VideoIndex`; None for JAX.
        report: called with a message before each part of the work.
    """
    with tempfile.TemporaryDirectory(prefix="tempme-bench-") as name:
        top = Path(name)
        report("making an index")
        place = make_index(top, model)
        environment = os.environ | {"XDG_CACHE_HOME": str(top / "cache")}
        environment.pop("JAX_ENABLE_COMPILATION_CACHE", None)
        search = ["search", QUERY, "--index", str(place), "--json"]
        search += ["--runtime", runtime] if runtime else []
        report("searching for the first time")
        seconds = {"search, the first time": run(search, environment)}
        run(search, environment)  # compiles what the first one kept
        commands = {
            "--help": ["--help"],
            "search --help": ["search", "--help"],
            "search in a wrong folder": ["search", QUERY, "--index", str(top / "nowhere")],
            "search for an empty text": ["search", " "],
            "search": search,
        }
        taken = measure_in_turns(commands, environment, rounds, report)
        if runtime is None:
            report("searching beside a server")
            with serve(place, environment):
                asked = {"search beside `tempme serve`": search}
                taken |= measure_in_turns(asked, environment, rounds, report)
        program = [sys.executable, "-c", MODULES, str(place)]
        told = subprocess.run(program, capture_output=True, check=True, env=environment).stdout
    seconds |= {what: median(times) for what, times in taken.items()}
    return StartTimes(model, rounds, seconds, *json.loads(told))


def make_index(top: Path, model: str) -> Path:
    """Make an index of random vectors for a model."""
    source = model
    if model in ARCHITECTURES:
        source = str(top / "model.safetensors")
        create(model).save(source)
    opened = load(source)
    header = make_header(opened, describe_source(source), Sampling(frames=opened.num_frames))
    texts = read_texts()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TextCutWarning)
        vectors = opened.embed_text(texts)
    store = Store.create(top / "index", header, texts, vectors)
    rng = np.random.default_rng(0)
    made = rng.standard_normal((VIDEOS * OF_A_VIDEO, vectors.shape[1]), np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    windows, files = [], []
    for video in range(VIDEOS):
        content = f"{video:032x}"
        for number in range(OF_A_VIDEO):
            vector = made[video * OF_A_VIDEO + number]
            name = make_window_id(content, number)
            windows.append(WindowRow(name, content, 6.0 * number, 6.0 * number + 12, vector, b""))
        name = f"{video}.mp4".encode()
        files.append(
            FileRow(f"{video:024x}", "..", name, 1, 1, content, 66.0, OF_A_VIDEO, reading=99)
        )
    store.commit(windows, files)
    write_side_file(store)
    return top / "index"


def measure_in_turns(
    commands: dict[str, list[str]],
    environment: dict[str, str],
    rounds: int,
    report: Callable[[str], None],
) -> dict[str, list[float]]:
    """Return the seconds of each run of each command."""
    taken: dict[str, list[float]] = {what: [] for what in commands}
    for number in range(rounds):
        report(f"round {number + 1} of {rounds}")
        for what, words in commands.items():
            taken[what].append(run(words, environment))
    return taken


def run(words: list[str], environment: dict[str, str]) -> float:
    """Run `tempme` in a fresh process and return the seconds that it took.

    Raises:
        RuntimeError: it ended with an error that is none of the user's.
    """
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "tempme_jax.cli", *words], capture_output=True, env=environment
    )
    seconds = time.perf_counter() - begun
    wrong = b"Traceback" in done.stderr or (words[-1] == "--json" and done.returncode)
    if done.returncode not in (0, 1, 2) or wrong:
        raise RuntimeError(f"tempme {' '.join(words)}: {done.stderr.decode(errors='replace')}")
    return seconds


@contextmanager
def serve(place: Path, environment: dict[str, str]) -> Iterator[None]:
    """Run `tempme serve` of an index while the context is open, which begins once it is warm."""
    words = [sys.executable, "-m", "tempme_jax.cli", "serve", "--port", "0", "--index", str(place)]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, env=environment)
    try:
        end = time.monotonic() + PATIENCE
        while not has_socket(str(place)):
            if server.poll() is not None or time.monotonic() > end:
                raise RuntimeError("tempme serve opened no socket beside the index")
            time.sleep(0.1)
        yield
    finally:
        server.terminate()
        server.wait(30)
