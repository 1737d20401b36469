"""The doctor tells what is there, what is missing or damaged, and what to do."""

import av
import numpy as np
import pytest

from tempme_jax.datasets import check


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Of a folder with a good video, one of text, one that is cut, and one that is missing."""
    root = tmp_path_factory.mktemp("folder")
    rows = "good.mp4,one,train\ngood.mp4,two,train\ntext.mp4,three,train\ngood.mp4,one,validation\n"
    rows = "file,caption,split,start\n" + "".join(f"{row},\n" for row in rows.splitlines())
    rows = rows.replace("validation,", "validation,100")
    (root / "captions.csv").write_text(rows + "gone.mp4,four,test,\ncut.mp4,five,test,\n")
    (root / "text.mp4").write_text("no video")
    with av.open(str(root / "good.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.height = stream.width = 32
        for shade in range(5):
            picture = np.full((32, 32, 3), 40 * shade, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    (root / "cut.mp4").write_bytes((root / "good.mp4").read_bytes()[:600])
    before = sorted(root.iterdir())
    yield check.check_data_set("folder", root, workers=1)
    assert sorted(root.iterdir()) == before


def test_counts_what_is_listed_and_found(report):
    train, validation, test = report.splits
    assert (train.listed, train.captions, train.found, train.expected) == (2, 3, 2, None)
    assert (validation.listed, validation.found, test.listed, test.found) == (1, 1, 2, 1)
    assert [fault.id for fault in test.missing] == ["gone.mp4"]
    assert test.missing[0].file.endswith("gone.mp4")


def test_finds_what_cannot_be_decoded(report):
    faults = {fault.id: fault.reason for split in report.splits for fault in split.corrupt}
    assert faults.keys() == {"text.mp4", "good.mp4@100.0-", "cut.mp4"}
    assert "100 s" in faults["good.mp4@100.0-"]  # which is after its end


def test_says_what_to_do_and_prints_it(report, capsys):
    check.print_report(report)
    printed = capsys.readouterr().out
    assert "test, missing: gone.mp4" in printed
    assert "train, corrupt: text.mp4" in printed
    assert "test: of 2 videos 1 are not there" in printed and "data.missing=skip" in printed
    assert "All is there" not in printed


def test_unusable_annotations_are_reported_not_raised(tmp_path, capsys):
    report = check.check_data_set("msrvtt", tmp_path, "7k")
    assert [split.expected for split in report.splits] == [6510, 500, 1000]
    assert all("no such folder" in split.problem for split in report.splits)
    check.print_report(report)
    printed = capsys.readouterr().out
    assert "6510" in printed and "?" in printed and "CLIP4Clip" in printed


def test_a_shorter_list_than_published_is_advised_of(tmp_path):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "videos").mkdir()
    text = "video_id,sentence\n" + "".join(f"video{n},a cat\n" for n in range(25))
    (tmp_path / "annotations/MSRVTT_JSFUSION_test.csv").write_text(text)
    report = check.check_data_set("msrvtt", tmp_path, deep=False)
    listed, missing = report.advice[-2:]
    assert listed.startswith("test: the annotation files list 25 videos, 1000 are published")
    assert missing.startswith("test: of 25 videos 25 are not there") and "MSRVTT.zip" in missing
    assert len(report.splits[2].missing) == 25


def test_print_names_the_first_faults_and_counts_the_rest(tmp_path, capsys):
    faults = tuple(check.Fault(f"video{n}", f"video{n}.*", "not found") for n in range(25))
    split = check.SplitReport("test", 25, 25, 25, 0, faults)
    check.print_report(check.SetReport("msrvtt", "9k", "[data]", (split,), ()))
    printed = capsys.readouterr().out
    assert "video9 " in printed and "video10 " not in printed and "and 15 more" in printed
    assert "in [data]" in printed


def test_unknown_names_are_refused_with_a_suggestion(tmp_path):
    with pytest.raises(ValueError, match="unknown data set: 'msrvt' .did you mean 'msrvtt'"):
        check.check_data_set("msrvt", tmp_path)
    with pytest.raises(ValueError, match="unknown variant: '8k'.*there are: 7k, 9k"):
        check.check_data_set("msrvtt", tmp_path, "8k")
