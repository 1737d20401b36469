"""The built-in set shows the same however often it is made, and its order cannot be seen by all."""

import collections
import dataclasses

import numpy as np
import pytest
from toy_clip import make_params

from tempme_jax import create
from tempme_jax.datasets import moving_shapes, shapes
from tempme_jax.datasets.base import Storage
from tempme_jax.datasets.moving_shapes import EDITION, SIZES, MovingShapes, save_frames
from tempme_jax.datasets.prepared import decode_jpeg
from tempme_jax.networks.architecture import Architecture
from tempme_jax.training.order import make_distinct_batches, make_pairs
from tempme_jax.video.frames import read_frames
from tempme_jax.video.workers import Request, decode_file

FRAMES = 8
MOTION = shapes.Motion("red", "circle", "right", "up")
ARCH = Architecture(
    embed_dim=8, image_size=64, patch=16, width=16, depth=2, heads=1,
    text_width=16, text_depth=1, text_heads=1, vocab_size=600, context_length=12,
)  # fmt: skip


def draw_motion(motion, seed=0, noise=1):
    return shapes.draw(motion, np.random.default_rng(seed), np.random.default_rng(noise))


@pytest.fixture
def builder(tmp_path, monkeypatch):
    """The set, of which nothing is drawn: its files are empty."""
    monkeypatch.setattr(shapes, "draw", lambda *_: None)
    monkeypatch.setattr(moving_shapes, "save_frames", lambda file, frames: file.touch())
    storage = Storage(variant="small", size=64, fps=None, least=FRAMES, most=FRAMES)
    return MovingShapes(data_dir=tmp_path / "prepared", root=tmp_path, config=storage)


def test_all_motions():
    motions = shapes.list_motions()
    assert len(set(motions)) == len({motion.caption for motion in motions}) == 96
    assert MOTION.caption == "a red circle moves right then up"
    assert MOTION.reverse == shapes.Motion("red", "circle", "down", "left")
    for motion in motions:
        assert motion.reverse in motions
        assert motion.reverse != motion
        assert motion.reverse.reverse == motion


def test_places():
    """Right for half of the time, then up, at a steady speed, around a corner at (10, 20)."""
    x, y = shapes.compute_centres(MOTION, np.array([10.0, 20.0])).T
    step = 2 * shapes.LEG / shapes.FRAMES
    assert x[:12] == pytest.approx(10 + step * (np.arange(12) + 0.5))
    assert y[:12] == pytest.approx(np.full(12, 20 + shapes.LEG))
    assert x[12:] == pytest.approx(np.full(12, 10 + shapes.LEG))
    assert y[12:] == pytest.approx(20 + shapes.LEG - step * (np.arange(12) + 0.5))


@pytest.mark.parametrize("motion", shapes.list_motions()[:8], ids=str)
def test_a_reverse_goes_the_same_way_back(motion):
    corner = np.array([12.5, 17.0])
    back = shapes.compute_centres(motion.reverse, corner)[::-1]
    assert shapes.compute_centres(motion, corner) == pytest.approx(back)


@pytest.mark.parametrize("motion", shapes.list_motions(), ids=str)
def test_shapes_stay_in_the_picture(motion):
    for corner in ((18 + i, 18 + j) for i in (-3, 3) for j in (-3, 3)):
        places = shapes.compute_centres(motion, np.array(corner, float))
        assert places.min() >= shapes.RADIUS[1]
        assert places.max() <= shapes.SIDE - shapes.RADIUS[1]


def test_drawing_follows_from_its_seeds():
    frames = draw_motion(MOTION)
    assert (frames.shape, frames.dtype) == ((24, 64, 64, 3), np.uint8)
    np.testing.assert_array_equal(draw_motion(MOTION), frames)
    other = np.abs(draw_motion(MOTION, noise=2).astype(int) - frames)
    assert 0 < other.mean() < 3 * shapes.NOISE  # the same but for the noise
    assert np.abs(draw_motion(MOTION, seed=1).astype(int) - frames).mean() > other.mean()


def test_a_video_backwards_is_that_of_the_reverse_up_to_noise():
    difference = draw_motion(MOTION)[::-1].astype(int) - draw_motion(MOTION.reverse, noise=2)
    assert np.abs(difference).max() < 60
    # Two noises and two roundings.
    assert difference.std() == pytest.approx(np.sqrt(2 * shapes.NOISE**2 + 1 / 6), rel=0.02)
    # No frame is closer to the reverse than another: the noise is that of all.
    assert difference.std(axis=(1, 2, 3)) == pytest.approx(np.full(24, 7.1), rel=0.05)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A motion and its reverse, written as the set writes them."""
    folder = tmp_path_factory.mktemp("files")
    made = [folder / "there.mp4", folder / "back.mp4"]
    save_frames(made[0], draw_motion(MOTION))
    save_frames(made[1], draw_motion(MOTION.reverse, noise=2))
    return made


@pytest.fixture(scope="module")
def read(files):
    """The frames that training sees of both files: evenly spread, and stored as JPEG."""
    requests = [Request(file=str(f), size=64, fps=None, least=FRAMES, most=FRAMES) for f in files]
    return [np.stack([decode_jpeg(jpeg) for jpeg in decode_file(r).frames]) for r in requests]


def test_frames_read_from_a_file_do_not_tell_the_direction(files, read):
    """Each frame is the one at the same place of the reverse, and none of its neighbours."""
    for there, back in (read, [read_frames(file, FRAMES, image_size=64) for file in files]):
        assert len(there) == len(back) == FRAMES
        distance = np.abs(there[:, None].astype(float) - back[None, ::-1]).mean(axis=(2, 3, 4))
        assert distance.argmin(axis=1).tolist() == list(range(FRAMES))
        same = np.diag(distance)
        assert same.max() < 6  # the mean of |a - b| for two noises of deviation 5 is 5.6
        assert same.std() < 0.1 * same.mean()
        assert (distance + 10 * np.eye(FRAMES)).min() > 1.3 * same.max()


def test_files_are_the_same_each_time_and_whole(files, tmp_path):
    save_frames(tmp_path / "again.mp4", draw_motion(MOTION))
    assert (tmp_path / "again.mp4").read_bytes() == files[0].read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["again.mp4"]  # nothing unfinished


def test_listed_videos(builder, monkeypatch):
    """Those of all splits, with twins in groups; files that are there are not made anew."""
    seeds = []
    monkeypatch.setattr(
        shapes, "draw", lambda _, look, noise: seeds.append((look.random(), noise.random()))
    )
    monkeypatch.setitem(SIZES["small"], "train", 2)
    listed = {split: builder.list_videos(split) for split in builder.SPLITS}
    assert {split: len(videos) for split, videos in listed.items()} == {
        "train": 192, "validation": 96, "test": 96,
    }  # fmt: skip
    ids = [video.id for videos in listed.values() for video in videos]
    assert len(set(ids)) == len(ids) == len(seeds)
    looks, noises = (collections.Counter(drawn) for drawn in zip(*seeds, strict=True))
    assert set(looks.values()) == {2}  # a motion and its reverse look the same
    assert set(noises.values()) == {1}
    for video in listed["test"]:
        assert video.file.is_file()
        assert f"edition-{EDITION}" in video.file.parts
    before = {video.file: video.file.stat().st_mtime_ns for video in listed["test"]}
    assert {v.file: v.file.stat().st_mtime_ns for v in builder.list_videos("test")} == before


def test_captions_and_groups(builder):
    videos = builder.list_videos("test")
    captions = [video.captions[0] for video in videos]
    assert len(set(captions)) == len(videos) == 96
    by_group = collections.defaultdict(list)
    for video in videos:
        by_group[video.group].append(video.captions[0])
    motions = {motion.caption: motion for motion in shapes.list_motions()}
    for one, other in by_group.values():  # each is a pair
        assert motions[one].reverse == motions[other]
    pairs = make_pairs([video.captions for video in videos], [video.group for video in videos])
    for batch in make_distinct_batches(pairs, 32, np.random.default_rng(0)):
        texts = {pairs.texts[i] for i in batch}
        assert {motions[text].reverse.caption for text in texts} == texts


def test_sizes():
    for variant, train in (("default", 960), ("small", 96)):
        expected = {split: MovingShapes.EXPECTED[variant, split] for split in MovingShapes.SPLITS}
        assert expected == {"train": train, "validation": 96, "test": 96}


@pytest.mark.parametrize(
    ("method", "options", "sees_order"),
    [
        ("lora", {"rank": 2}, False),
        ("tome", {"rank": 2, "r": 1}, False),
        ("tempme", {"rank": 2, "r": 1, "layers": (0, 1), "groups": (2, 4)}, True),
    ],
)
def test_what_averages_frames_cannot_tell_a_clip_from_its_reverse(
    read, method, options, sees_order
):
    model = create(ARCH, method=method, num_frames=FRAMES, max_words=12, method_options=options)
    model = dataclasses.replace(model, params=make_params(model.network, FRAMES))
    network, backwards = model.embed_video(np.stack([read[0], read[0][::-1]]))
    difference = np.abs(network - backwards).max()
    assert difference > 1e-2 if sees_order else difference < 1e-5
