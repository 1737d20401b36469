"""MSVD and VATEX, whose videos have several captions, read files as they are published."""

import pickle

import pytest
from annotation_files import list_videos, write

from tempme_jax.datasets.base import AnnotationError
from tempme_jax.datasets.pickles import read_pickled_captions
from tempme_jax.training.flags import parse_flags

SAID = {
    "mv89psg6zh4_33_46": [["a", "bird", "bathes"], ["a", "bird", "in", "a", "sink", "café"]],
    "-_aaMGK6GGw_57_61": [["two", "women", "run"]],
    "other_1_2": [["nobody", "asks"]],
}
LISTED = "-_aaMGK6GGw_57_61\r\nmv89psg6zh4_33_46\r\n"
MSVD = {
    **{f"annotations/{part}_list.txt": LISTED for part in ("train", "val", "test")},
    "annotations/raw-captions.pkl": pickle.dumps(SAID),
    "videos/YouTubeClips/mv89psg6zh4_33_46.avi": "",
    "videos/YouTubeClips/-_aaMGK6GGw_57_61.mp4": "",
}
VATEX = {
    **{f"annotations/{part}_list.txt": "b_000001_000011\n" for part in ("train", "val", "test")},
    "annotations/ref_captions.json": {"a_1_2": ["x"], "b_000001_000011": [" One. ", "Two."]},
    "videos/b_000001_000011.mp4": "",
}


def test_msvd_keeps_every_caption_in_every_split(tmp_path):
    root = write(tmp_path, MSVD)
    for split in ("train", "validation", "test"):
        second, first = list_videos("msvd", root, split)
        assert first.captions == ("a bird bathes", "a bird in a sink café")
        assert first.file == tmp_path / "videos/YouTubeClips/mv89psg6zh4_33_46.avi"
        assert second.captions == ("two women run",) and second.file is not None


def test_msvd_reads_the_lists_of_umt(tmp_path):
    rows = [{"video": "mv89psg6zh4_33_46.avi", "caption": ["one", "two"]}]
    (video,) = list_videos("msvd", write(tmp_path, {"annotations/msvd_ret_test.json": rows,
        "videos/mv89psg6zh4_33_46.avi": ""}), "test")  # fmt: skip
    assert video.captions == ("one", "two") and video.file.suffix == ".avi"


def test_vatex_keeps_every_caption(tmp_path):
    (video,) = list_videos("vatex", write(tmp_path, VATEX), "test")
    assert (video.id, video.captions) == ("b_000001_000011", ("One.", "Two."))
    assert video.file == tmp_path / "videos/b_000001_000011.mp4"


class Evil:
    def __reduce__(self):
        return pytest.fail, ("it was run",)


# As Python 2 writes {"a": [["caf\xc3\xa9"]]}, bytes in UTF-8.
OF_PYTHON_2 = b"(dp0\nS'a'\np1\n(lp2\n(lp3\nS'caf\\xc3\\xa9'\np4\naas."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(Evil()), "is not a pickle of captions .it asks for _pytest.*is code and is"),
        (pickle.dumps({"a": [Evil()]}), "which is code and is not run"),
        (pickle.dumps(SAID)[:-9], "is not a pickle of captions"),
        (b"", "is not a pickle of captions .Ran out of input"),
        (b"\x80\x04N\x85R.", "is not a pickle of captions"),
        (b"<html>moved</html>", "is not a pickle of captions"),
        (pickle.dumps([1]), "must hold a dictionary of captions"),
        (pickle.dumps({1: []}), "must hold a dictionary of captions"),
        (pickle.dumps({"a": "text"}), "'a': must hold a list, not 'text'"),
        (pickle.dumps({"a": [3]}), "'a': a caption must be text, not 3"),
        (pickle.dumps({"a": [[]]}), "'a': a caption is empty"),
        (pickle.dumps({"a": [["b", 3]]}), "'a': a caption must be text"),
    ],
)
def test_a_pickle_of_anything_else_is_refused_and_nothing_is_run(tmp_path, content, message):
    file = tmp_path / "raw-captions.pkl"
    file.write_bytes(content)
    with pytest.raises(AnnotationError, match=message) as caught:
        read_pickled_captions(file)
    assert str(caught.value).startswith(str(file))


def test_texts_and_pickles_of_python_2_are_read(tmp_path):
    file = tmp_path / "raw-captions.pkl"
    file.write_bytes(OF_PYTHON_2)
    assert read_pickled_captions(file) == {"a": ["café"]}
    file.write_bytes(pickle.dumps({"a": ["b c", ("d", "e")]}, protocol=2))
    assert read_pickled_captions(file) == {"a": ["b c", "d e"]}


@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("msvd", "test_list.txt", "nobody_1_2\n", "line 1: 'nobody_1_2' has no caption in raw-cap"),
        ("msvd", "test_list.txt", "other_1_2\n" * 2, "line 2: the name 'other_1_2' is there twice"),
        ("vatex", "test_list.txt", "c\n", "line 1: 'c' has no caption in ref_captions.json"),
        ("vatex", "ref_captions.json", {"b": "text"}, "'b': must hold a list, not 'text'"),
        ("vatex", "ref_captions.json", {"b": [""]}, "'b': a caption is empty"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, name, file, content, message):
    files = (MSVD if name == "msvd" else VATEX) | {f"annotations/{file}": content}
    with pytest.raises(AnnotationError, match=message):
        list_videos(name, write(tmp_path, files), "test")


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
@pytest.mark.parametrize("name", ["msvd", "vatex"])
def test_a_video_is_ranked_among_videos_as_in_clip4clip(name):
    config = parse_flags([f"--config=configs/{name}.py:lora,b16"])
    assert (config.data.name, config.evaluate.rivals) == (name, "videos")
    assert (config.model.num_frames, config.model.max_words) == (12, 32)
