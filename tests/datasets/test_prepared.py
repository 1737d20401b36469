"""What was prepared is read back, video by video, also in other processes."""

import hashlib
import io
import pickle

import numpy as np
import pytest
from PIL import Image
from video_files import find_shown_indices, make_listed_set, make_video_entry, write_grey_video

from tempme_jax.datasets.prepare import prepare
from tempme_jax.datasets.prepared import NotPreparedError, Prepared


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    """Three videos to train on, one a part of a file, and one to test."""
    folder = tmp_path_factory.mktemp("set")
    paths = [write_grey_video(folder / f"{i}.mp4", range(10 * i + 5)) for i in range(4)]
    part = make_video_entry(paths[2], start=1.0, end=2.0, group="two")
    builder = make_listed_set(
        folder,
        train=[make_video_entry(paths[0]), make_video_entry(paths[1]), part],
        test=[make_video_entry(paths[3])],
    )
    builder.EXPECTED = {("default", "train"): 9}
    prepare(builder, workers=1, videos_per_shard=2, quiet=True)
    return builder


def test_what_is_said_of_the_videos(builder):
    train = Prepared(builder.data_dir, "train")
    assert len(train) == 3
    assert train.ids == ["0.mp4", "1.mp4", "2.mp4"]
    assert train.captions[1] == ("about 1.mp4", "a cat")
    assert train.groups == ["", "", "two"]
    assert train.frames == [4, 4, 4]
    assert train.id_hash == hashlib.sha256(b"0.mp4\n1.mp4\n2.mp4").hexdigest()[:12]
    assert train.expected == 9
    assert Prepared(builder.data_dir, "test").expected == 1


def test_frames(builder):
    jpegs, times = Prepared(builder.data_dir, "train")[2]
    assert [Image.open(io.BytesIO(jpeg)).size for jpeg in jpegs] == [(32, 32)] * 4
    assert find_shown_indices(jpegs) == [11, 13, 16, 18]
    assert times.dtype == np.float32
    assert times.tolist() == pytest.approx([1.1, 1.3, 1.6, 1.8])


def test_several_splits_are_one(builder):
    both = Prepared(builder.data_dir, ("test", "train"))
    assert both.ids == ["3.mp4", "0.mp4", "1.mp4", "2.mp4"]
    assert both.expected == 10
    train = Prepared(builder.data_dir, "train")
    for i in range(3):
        assert both[i + 1][0] == train[i][0]
    assert both[-1][0] == train[2][0]
    with pytest.raises(IndexError):
        both[4]


def test_goes_to_other_processes_before_and_after_reading(builder):
    train = Prepared(builder.data_dir, "train")
    fresh = len(pickle.dumps(train))
    jpegs, _ = train[1]
    copy = pickle.loads(pickle.dumps(train))
    assert len(pickle.dumps(train)) == fresh
    assert copy[1][0] == jpegs
    assert copy.captions == train.captions


def test_what_is_not_prepared(builder, tmp_path):
    with pytest.raises(NotPreparedError, match=r"no complete data set; run `tempme data prepare "):
        Prepared(tmp_path / "msrvtt" / "storage" / "1.0.0", "train")
    with pytest.raises(NotPreparedError, match="no split 'dev'; it has train, test"):
        Prepared(builder.data_dir, "dev")
