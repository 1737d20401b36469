"""A run of a few seconds for tests of training: its config, its data, its processes."""

import contextlib
import csv
import fcntl
import json
import os
import pathlib
import subprocess
import sys

import av
import numpy as np

from tempme_jax.training.flags import build_config, make_defaults

FILE = pathlib.Path(__file__)
# This file is also read as a config; then nothing beside it can be imported.
ROOT = FILE.parents[2]
SIDE = 16
VIDEOS = {"train": 24, "validation": 8, "test": 8}
SECONDS = 300


def get_config(method="tempme"):
    """Return 12 steps of 8 videos; the command line reads this file as a config, too."""
    config = make_defaults(method)
    config.data.update(name="folder", size=SIDE, fps=None, least=4, most=4, decoders=1)
    config.model.update(
        weights="", num_frames=4, max_words=12,
        architecture=dict(
            embed_dim=16, image_size=SIDE, patch=8, width=16, depth=2, heads=2,
            text_width=16, text_depth=1, text_heads=2, vocab_size=2048,
        ),
    )  # fmt: skip
    if "r" in config.model.options:
        config.model.options.r = 1
    if "position_std" in config.model.options:
        config.model.options.update(layers=(0, 1), groups=(2, 2), position_std=0.2)
    config.train.update(
        batch_size=8, epochs=0, steps=12, batches="distinct", frame_sampling="random_segment",
        augmentation="none", learning_rate=1e-2, evaluate_every=4, checkpoint_every=2, log_every=5,
    )  # fmt: skip
    config.evaluate.update(batch_size=8, draws=20)
    return config


def make_config(home, settings=None, method="tempme"):
    """Return the settings with some of them changed, such as {"train.steps": 3}."""
    config = get_config(method)
    with config.unlocked():
        config.update_from_flattened_dict(list_places(home) | (settings or {}))
    return build_config(config)


def list_places(home):
    return {"data.root": str(home / "videos"), "data.prepared": str(home / "prepared")}


def make_home(tmp_path_factory):
    """Return a folder with the data, made once for all processes of a test session."""
    home = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        home = home.parent
    home /= "toy_run"
    with hold_lock(home):
        if not (home / "videos").exists():
            write_videos(home / "unfinished")
            (home / "unfinished").rename(home / "videos")
        from tempme_jax.training.splits import prepare_data

        prepare_data(make_config(home).data)
    return home


@contextlib.contextmanager
def hold_lock(home):
    home.mkdir(exist_ok=True)
    with (home / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_videos(folder):
    """Write videos of eight frames, noise of one hue, each with its own caption."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    with (folder / "captions.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "caption", "split", "group"])
        for number in range(sum(VIDEOS.values())):
            split = np.repeat(list(VIDEOS), list(VIDEOS.values()))[number]
            name = f"{number:02}.mp4"
            rows.writerow([name, f"video {number} of many", split, str(number // 2)])
            frames = rng.integers(0, 60, (8, SIDE, SIDE, 3)) + rng.integers(0, 190, 3)
            write_video(folder / name, frames.astype(np.uint8))


def write_video(file, frames):
    with av.open(file, "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def start(home, workdir, *flags, devices=1, method=""):
    """Start a process that runs it; what it compiles is kept for the next ones."""
    given = [
        f"--config={FILE}{method and ':'}{method}",
        *(f"--config.{name}={at}" for name, at in list_places(home).items()),
    ]
    count = f"--xla_force_host_platform_device_count={devices}"
    environment = os.environ | {
        "JAX_ENABLE_COMPILATION_CACHE": "1",
        "JAX_COMPILATION_CACHE_DIR": str(home / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "XLA_FLAGS": f"{count} {os.environ['XLA_FLAGS']}".strip(),
    }
    command = [sys.executable, "-m", "tempme_jax.main", *given, f"--workdir={workdir}", *flags]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(process):
    """Wait for a process to succeed; return what it has printed."""
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    return out, err


def finish_whole(home, devices=1):
    """Return the workdir of a whole run, made once for all tests."""
    workdir = home / f"devices-{devices}"
    with hold_lock(home):
        if not (workdir / "results.json").exists():
            finish(start(home, workdir, devices=devices))
    return workdir


def read_lines(workdir, kind=None):
    """Return the lines of metrics.jsonl, all or of one kind, without what differs between runs."""
    text = (workdir / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    timed = ("videos_per_second", "waited")
    lines = [{k: v for k, v in line.items() if k not in timed} for line in lines]
    return [line for line in lines if kind in (None, line["kind"])]


def read_arrays(workdir, kind):
    """Return all arrays of the newest checkpoint by their names, and its step."""
    import jax
    import orbax.checkpoint as ocp

    step = max(int(folder.name) for folder in (workdir / kind).iterdir())
    trees = {}
    for part in ("trainable", "optimizer"):
        with ocp.StandardCheckpointer() as opener:
            trees[part] = opener.restore(workdir / kind / str(step) / part)
    flat = jax.tree_util.tree_leaves_with_path(trees)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in flat}, step
