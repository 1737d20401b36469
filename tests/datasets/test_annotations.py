"""The data sets read files laid out as the published ones, and say what is wrong with others."""

import zipfile

import pytest
from annotation_files import list_videos, make_msrvtt_files, write

from tempme_jax.datasets import DATASETS, msrvtt
from tempme_jax.datasets.base import AnnotationError, Storage
from tempme_jax.datasets.video_files import VideoFiles

SECOND = "10015567@N08_3655084291_d8b58466fa."  # of a DiDeMo list; it has no suffix


ACTIVITYNET = {
    "annotations/train.json": {
        f"v_{name}": {"duration": 8.5, "timestamps": [[0, 8]], "sentences": [f" {name}."]}
        for name in ("a", "b", "c")
    },
    "annotations/val_1.json": {
        "v_---x": {"duration": 9, "timestamps": [[0, 1], [2, 9]], "sentences": [" One.", " Two. "]},
        "v_y": {"duration": 9, "timestamps": [[0, 1]], "sentences": [" Three.", " ", "Four."]},
        "z": {"duration": 9, "timestamps": [[0, 1]], "sentences": ["Five."]},
    },
    "videos/v_---x.mkv": "",
    "videos/deeper/y.WEBM": "",
    "videos/z.mp4": "",
}
DIDEMO = {
    **{f"annotations/{part}_list.txt": f"1@N_1.mov\n{SECOND}\n" for part in ("train", "val")},
    "annotations/test_list.txt": f"1@N_1.mov\n\n{SECOND}\n",
    "annotations/test_data.json": [
        {"annotation_id": 1, "video": SECOND, "description": "first", "times": [[0, 0]]},
        {"annotation_id": 2, "video": "1@N_1.mov", "description": "a train ", "times": [[1, 2]]},
        {"annotation_id": 3, "video": "not.listed", "description": "left out", "times": []},
        {"annotation_id": 4, "video": SECOND, "description": "then", "times": [[3, 4]]},
    ],
    f"videos/{SECOND}": "",
    "videos/1@N_1.mp4": "",
}
SCENE = "3086_UGLY_TRUTH_00.23.23.000-00.23.28.886"
LINE = f"{SCENE}\t00.23.23.000\t00.23.28.886\t0\t0\tSOMEONE says \"no, she's\x0c gone.\n"
LSMDC_TEST = "annotations/LSMDC16_challenge_1000_publictect.csv"
LSMDC = {
    "annotations/LSMDC16_annos_training.csv": LINE + LINE.replace("SOMEONE", "He"),
    LSMDC_TEST: LINE,
    f"videos/3086_UGLY_TRUTH/{SCENE}.avi": "",
}
ASKED = [
    {"answer": "cook", "question": "what does he do?", "video_id": "video1", "answer_type": "what"},
    {"answer": "rare", "question": "who is it?", "video_id": "video1", "answer_type": "who"},
    {"answer": "ball", "question": "what is it?", "video_id": "video2", "answer_type": "what"},
]
MSRVTT_QA = {
    **{f"annotations/{part}.jsonl": ASKED for part in ("train", "val", "test")},
    "annotations/train_ans2label.json": {"cook": 1, "ball": 0},
    "annotations/msrvtt_qa_answer_list.json": ["ball", "cook"],
    "annotations/msrvtt_qa_test.json": [
        {"video": f"{asked['video_id']}.mp4", "question_id": number}
        | {key: asked[key] for key in ("question", "answer")}
        for number, asked in enumerate(ASKED)
    ],
    "videos/video2.mp4": "",
}


def test_msrvtt_test_has_one_caption_a_video(tmp_path):
    first, second = list_videos("msrvtt", write(tmp_path, make_msrvtt_files()), "test")
    assert (first.id, first.captions) == ("video9770", ("a man is playing",))
    assert first.file == tmp_path / "videos/all/video9770.mp4" and not first.looked_for
    assert second.captions == ("a man, a dog",)
    assert second.file is None and second.looked_for == "video7020.*"  # a hidden folder


def test_msrvtt_holds_out_a_fixed_part_for_validation(tmp_path):
    root = write(tmp_path, make_msrvtt_files())
    train, validation = (list_videos("msrvtt", root, split) for split in ("train", "validation"))
    ids = {video.id for video in train + validation}
    assert (len(train), len(validation)) == (27, 3)
    assert ids == {f"video{number}" for number in range(30)}
    assert train[0].captions == (f"take 0 of {train[0].id[5:]}", f"take 1 of {train[0].id[5:]}")
    # By sha256sum.
    assert [video.id for video in validation] == ["video8", "video12", "video20"]
    assert len(list_videos("msrvtt", root, "train", "7k")) == 1


def test_held_out_are_500_of_the_published_sets():
    names = [f"video{number}" for number in range(9000)]
    held_out = DATASETS["msrvtt"].choose_held_out(names, 500)
    assert len(held_out) == 500
    assert held_out == DATASETS["msrvtt"].choose_held_out(names[::-1], 500)


def test_activitynet_joins_sentences_to_a_paragraph(tmp_path):
    root = write(tmp_path, ACTIVITYNET)
    first, second, third = list_videos("activitynet", root, "test")
    assert (first.id, first.captions) == ("v_---x", ("One. Two.",))
    assert (first.file, first.end) == (tmp_path / "videos/v_---x.mkv", None)
    assert (second.captions, second.file) == (("Three. Four.",), tmp_path / "videos/deeper/y.WEBM")
    assert third.file == tmp_path / "videos/z.mp4"
    train, validation = (
        list_videos("activitynet", root, split) for split in ("train", "validation")
    )
    assert len(train) == 2 and len(validation) == 1
    assert train[0].looked_for.startswith("v_") and " or " in train[0].looked_for


def test_didemo_matches_full_names_and_reads_31_seconds(tmp_path):
    train, bare = list_videos("didemo", write(tmp_path, DIDEMO), "test")
    assert (train.captions, train.end) == (("a train",), 31.0)
    assert train.file == tmp_path / "videos/1@N_1.mp4"  # which was recoded
    assert train.listed == "1@N_1.mov" and not train.looked_for
    assert (bare.captions, bare.file) == (("first then",), tmp_path / "videos" / SECOND)


def test_lsmdc_splits_at_tabs_and_keeps_quotes(tmp_path):
    root = write(tmp_path, LSMDC)
    (video,) = list_videos("lsmdc", root, "test")
    assert video.id == SCENE and video.file == tmp_path / f"videos/3086_UGLY_TRUTH/{SCENE}.avi"
    assert video.captions == ("SOMEONE says \"no, she's\x0c gone.",)
    (video,) = list_videos("lsmdc", root, "train")
    assert len(video.captions) == 2


@pytest.mark.parametrize("variant", ["jsonl", "json"])
def test_msrvtt_qa_reads_both_families(tmp_path, variant):
    kind, root = DATASETS["msrvtt_qa"], write(tmp_path, MSRVTT_QA)
    builder = kind(data_dir=tmp_path, root=root, config=Storage(variant=variant))
    assert builder.read_answers() == ["ball", "cook"]
    questions = builder.read_questions("test")
    assert [(asked.video_id, asked.label) for asked in questions] == [
        ("video1", 1),
        ("video1", None),
        ("video2", 0),
    ]
    assert questions[0].answer_type == ("what" if variant == "jsonl" else "")
    first, second = builder.list_videos("test")
    assert first.captions == ("what does he do?", "who is it?") and first.file is None
    assert second.file == tmp_path / "videos/video2.mp4"


def test_msrvtt_qa_trains_on_the_vocabulary_only(tmp_path):
    builder = DATASETS["msrvtt_qa"](data_dir=tmp_path, root=write(tmp_path, MSRVTT_QA))
    assert [asked.answer for asked in builder.read_questions("train")] == ["cook", "ball"]
    assert len(builder.read_questions("validation")) == 3
    write(tmp_path, {"annotations/train_ans2label.json": {"dog": 0}})
    with pytest.raises(AnnotationError, match="has the answer of none of the 3 questions of train"):
        builder.read_questions("train")


def test_folder_gathers_captions_and_clips(tmp_path):
    rows = "video,start,end,id,group,caption,split\n"
    rows += 'a/1.mp4,,,,pair,one,train\n./a/1.mp4,,,,pair,"two,\nlines",train\n'
    rows += "a/1.mp4,1.5,4,,pair,a part,train\na/2.mp4,,3,second,,two,train\nx.mp4,,,,,x,test\n"
    root = write(tmp_path, {"captions.csv": "\ufeff" + rows, "a/1.mp4": ""})
    whole, part, second = list_videos("folder", root, "train")
    assert (whole.id, whole.captions) == ("a/1.mp4", ("one", "two,\nlines"))
    assert (whole.file, whole.group, whole.end) == (tmp_path / "a/1.mp4", "pair", None)
    assert (part.id, part.start, part.end) == ("a/1.mp4@1.5-4.0", 1.5, 4.0)
    assert (second.id, second.file, second.end) == ("second", None, 3.0)
    assert second.looked_for == str(tmp_path / "a/2.mp4")


def test_folder_splits_by_a_hash_of_the_path(tmp_path):
    rows = [{"file": f"{n}.mp4", "caption": f"no. {n}"} for n in range(500)]
    few, many = write(tmp_path / "few", {"captions.jsonl": rows[:300]}), tmp_path / "many"
    write(many, {"captions.jsonl": rows})
    sizes, before = {}, {}
    for split in ("train", "validation", "test"):
        before[split] = {video.id for video in list_videos("folder", few, split)}
        after = {video.id for video in list_videos("folder", many, split)}
        assert before[split] < after  # what is added moves nothing
        sizes[split] = len(after)
    assert sum(sizes.values()) == 500
    assert 370 < sizes["train"] < 430 and min(sizes.values()) > 30


def test_folder_keeps_clips_of_a_file_in_one_split(tmp_path):
    rows = [
        {"file": f"{n}.mp4", "caption": f"{n}, {m}", "start": m} for n in range(50) for m in (0, 5)
    ]
    root = write(tmp_path, {"captions.jsonl": rows})
    for split in ("train", "validation", "test"):
        parts = list_videos("folder", root, split)
        assert len(parts) == 2 * len({video.looked_for for video in parts})


FOLDER = "file,caption\n"
BAD_FOLDERS = {
    "file,captoin\na,b\n": r"csv, line 1: there is no field 'caption'; the fields are 'file', 'cap",
    "file,caption,splt\na,b,c\n": r"line 1: unknown field 'splt' \(did you mean 'split'.*file, vid",
    "file,caption,file\na,b,c\n": r"line 1: two columns have the same name",
    "file;captoin\na;b\n": r"line 1: there is no field 'caption'; the fields are 'file;captoin'",
    "file;caption;end\na;b;1,5\n": r"line 2: end must be .* '1,5'; write a point, not a comma",
    "file;caption\na;b;c\n": r"line 2: 3 fields, where the header has 2; .* what holds semicolons",
    "": r"captions.csv: is empty; expected the columns caption",
    FOLDER + "a.mp4,b\n\na.mp4,x,y\n": r"line 4: 3 fields, where the header has 2; put quotes",
    FOLDER + 'a.mp4,"b\n': r"line 2: is not CSV \(unexpected end of data\)",
    FOLDER + "a.mp4, \n": r"line 2: caption is empty; fill it in",
    FOLDER + ",b\n": r"line 2: there must be either a file or a video",
    FOLDER + "/etc/passwd,b\n": r"line 2: '/etc/passwd' is not a path within",
    FOLDER + "a/../../b.mp4,b\n": r"line 2: 'a/../../b.mp4' is not a path within",
    FOLDER + "a\0.mp4,b\n": r"line 2: .* is not a path within",
    FOLDER + ".,b\n": r"line 2: '.' is not a path within",
    FOLDER + "out/b.mp4,b\n": r"line 2: 'out/b.mp4' is a link that leads out of .*put the file it",
    "file,video,caption\na,b,c\n": r"line 2: there must be either a file or a video",
    "file,caption,split\na,b,val\n": r"line 2: unknown split 'val' .did you mean 'validation'",
    "file,caption,split\na,b,\nb,c,test\n": r"line 3: split must be filled in in all rows or",
    "file,caption,split\na,b,train\na,c,test\n": r"line 3: 'a' is not the video of line 2; give",
    "file,caption,id\na,b,x\nc,d,x\n": r"line 3: 'x' is not the video of line 2",
    "file,caption,start\na,b,-1\n": r"line 2: start must be a number of seconds of 0 or more",
    "file,caption,end\na,b,1:30\n": r"line 2: end must be a number of seconds .* not '1:30'",
    "file,caption,start,end\na,b,3,3\n": r"line 2: end=3.0 must be after start=3.0",
    "file,caption,split\na,b,test\n": r"csv: none of 1 videos is in split 'train'; fill in the fie",
    b"file,caption\na,b\nc,caf\xe9\n": r"csv, line 3: is not UTF-8 text, but .* 'c,café'; save it",
}


@pytest.mark.parametrize(("text", "message"), BAD_FOLDERS.items())
def test_bad_folder_names_file_line_and_remedy(tmp_path, text, message):
    root = write(tmp_path, {"root/captions.csv": text}) / "root"
    (root / "out").symlink_to(tmp_path)
    with pytest.raises(AnnotationError, match=message) as caught:
        list_videos("folder", root, "train")
    assert str(caught.value).startswith(str(root / "captions.csv"))


BAD_LINES = {
    '{"file": "a", "caption": "b"}\n{"file": ': r"jsonl, line 2: is not JSON \(Expecting val",
    '["a"]': r"line 1: must be an object with fields, not \['a'\]",
    '{"file": "a", "caption": 3}': r"line 1: caption must be text, not 3",
    '{"file": "a", "caption": "\\ud800"}': r"line 1: caption holds half a character",
    '{"file": "a", "file": "b", "caption": "c"}': r"line 1: 'file' is there twice",
    '{"file": "a", "caption": "c", "end": true}': r"line 1: end must be a number .* not True",
    '{"file": "a", "caption": "c", "end": NaN}': r"line 1: end must be a number .* not nan",
    '{"file": "a", "caption": "b"}\n{"file": "a", "text": "b"}': r"line 2: there is no field 'capt",
    "[" * 100_000: r"line 1: is not JSON that can be read",
}


@pytest.mark.parametrize(("text", "message"), BAD_LINES.items())
def test_bad_lines_of_json_are_named(tmp_path, text, message):
    with pytest.raises(AnnotationError, match=message):
        list_videos("folder", write(tmp_path, {"captions.jsonl": text}), "train")


def test_a_folder_needs_one_file_of_captions(tmp_path):
    with pytest.raises(
        AnnotationError, match="has none of captions.csv and captions.jsonl and cap"
    ):
        list_videos("folder", tmp_path, "train")
    write(tmp_path, {"captions.csv": "", "captions.jsonl": ""})
    with pytest.raises(AnnotationError, match="has both captions.csv and captions.jsonl; keep"):
        list_videos("folder", tmp_path, "train")


TEST_CSV = "annotations/MSRVTT_JSFUSION_test.csv"
BAD_FILES = [
    ("msrvtt", TEST_CSV, "key;video_id\n", "line 1: there is no field 'video_id'; the fields are"),
    ("msrvtt", TEST_CSV, "video_id,sentence\na,b\na,c\n", "line 3: video_id 'a' is there twice"),
    ("msrvtt", TEST_CSV, "video_id,sentence\na,\n", "line 2: sentence is empty"),
    ("activitynet", "annotations/val_1.json", "[]", "val_1.json: must hold an object, not a list"),
    (
        "activitynet",
        "annotations/val_1.json",
        "{\n  x",
        r"\(Expecting prop.*, line 2, column 3",
    ),
    ("activitynet", "annotations/val_1.json", '{"v": 1, "v": 2}', "json: 'v' is there twice"),
    ("activitynet", "annotations/val_1.json", {"v": {}}, "'v': there is no field 'sentences'"),
    ("activitynet", "annotations/val_1.json", {"v": {"sentences": [1]}}, "'v': sentences must be"),
    ("activitynet", "annotations/val_1.json", {"v": {"sentences": [" "]}}, "paragraph is empty"),
    ("didemo", "annotations/test_list.txt", "a.mov\na.mov\n", "line 1: 'a.mov' has no caption"),
    ("didemo", "annotations/test_list.txt", "1@N_1.mov\n" * 2, "line 2: the name '1@N_1.mov' is t"),
    ("didemo", "annotations/test_data.json", [{"video": "a"}], r"item\[0\]: there is no field 'd"),
    (
        "lsmdc",
        LSMDC_TEST,
        LINE * 2,
        "line 2: clip_id",
    ),
    (
        "lsmdc",
        LSMDC_TEST,
        "a\tb\n",
        "line 1: 2 fields",
    ),
    ("msrvtt_qa", "annotations/train_ans2label.json", {"a": 0, "b": 2}, "labels must be 0 to 1"),
    ("msrvtt_qa", "annotations/train_ans2label.json", {}, "must be texts, at least one"),
    ("msrvtt_qa", "annotations/train_ans2label.json", {"a": 0, " ": 1}, "has an empty answer"),
    ("msrvtt_qa", "annotations/train_ans2label.json", {"a": 0, "a ": 1}, "has an answer twice"),
    (
        "msrvtt_qa",
        "annotations/test.jsonl",
        [{"question": "why?"}],
        "line 1: there is no field 'vi",
    ),
]


@pytest.mark.parametrize(("name", "file", "content", "message"), BAD_FILES)
def test_bad_annotation_files_are_named(tmp_path, name, file, content, message):
    good = {"activitynet": ACTIVITYNET, "didemo": DIDEMO, "lsmdc": LSMDC, "msrvtt_qa": MSRVTT_QA}
    root = write(tmp_path, good.get(name) or make_msrvtt_files())
    with pytest.raises(AnnotationError, match=message) as caught:
        list_videos(name, write(root, {file: content}), "test")
    assert str(caught.value).startswith(str(root / file))


def test_a_listed_video_without_captions_is_named(tmp_path):
    bad = make_msrvtt_files() | {"annotations/MSRVTT_train.9k.csv": "video_id\nvideo1\nvideo99\n"}
    with pytest.raises(AnnotationError, match="line 3: 'video99' has no caption in MSRVTT_data"):
        list_videos("msrvtt", write(tmp_path, bad), "train")
    bad = make_msrvtt_files() | {"annotations/MSRVTT_data.json": {"videos": []}}
    with pytest.raises(AnnotationError, match="must hold a list named 'sentences'"):
        list_videos("msrvtt", write(tmp_path, bad), "train")


@pytest.mark.parametrize("name", ["msrvtt", "activitynet", "didemo", "lsmdc", "msrvtt_qa"])
def test_files_that_are_not_there_are_named_with_their_source(tmp_path, name):
    with pytest.raises(AnnotationError, match="annotations: no such folder.*comes from http.*READ"):
        list_videos(name, tmp_path, "test")
    write(tmp_path, {"annotations/MSRVTT_JSFUSION_tset.csv": ""})
    hint = "did you mean 'MSRVTT_JSFUSION_tset.csv'" if name == "msrvtt" else "no such file"
    with pytest.raises(AnnotationError, match=hint):
        list_videos(name, tmp_path, "test")


def test_a_folder_of_videos_must_exist_and_name_each_once(tmp_path):
    files = make_msrvtt_files() | {"videos/copy/video9770.avi": ""}
    root = write(tmp_path, files)
    with pytest.raises(AnnotationError, match="all/video9770.mp4 and copy/video9770.avi are for"):
        list_videos("msrvtt", root, "test")
    (root / "videos").rename(root / "elsewhere")
    with pytest.raises(AnnotationError, match="videos: no such folder; put the videos there"):
        list_videos("msrvtt", root, "test")
    (root / "elsewhere/copy/video9770.avi").unlink()
    (root / "videos").symlink_to(root / "elsewhere")
    assert list_videos("msrvtt", root, "test")[0].file == root / "videos/all/video9770.mp4"


def test_links_are_followed_once(tmp_path):
    write(tmp_path, {"elsewhere/a.mp4": "", "elsewhere/notes.txt": "", "videos/b.mp4": ""})
    (tmp_path / "videos/disk").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/loop").symlink_to(tmp_path / "videos")
    files = VideoFiles(tmp_path / "videos")
    assert files.find("a") == tmp_path / "videos/disk/a.mp4"
    assert files.find("b") == files.find("b.mp4") == tmp_path / "videos/b.mp4"
    assert files.find("notes") is None and files.find("notes.txt") is not None


def test_download_unpacks_side_by_side_and_nowhere_else(tmp_path):
    urls = {}
    for name, members in {
        "msrvtt_data.zip": ["msrvtt_data/MSRVTT_data.json", "../../evil.csv"],
        "MSRVTT.zip": ["MSRVTT/videos/all/video0.mp4", "__MACOSX/._video0.mp4", "x.pkl"],
    }.items():
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for member in members:
                archive.writestr(member, member)
        urls[name] = (tmp_path / name).as_uri()
    root = tmp_path / "data/msrvtt"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(msrvtt, "URLS", urls)
        msrvtt.download(root)
    found = sorted(str(file.relative_to(tmp_path)) for file in (tmp_path / "data").rglob("*.*"))
    assert found == [
        "data/msrvtt/annotations/MSRVTT_data.json",
        "data/msrvtt/annotations/evil.csv",
        "data/msrvtt/videos/video0.mp4",
    ]


def test_download_refuses_what_is_no_zip_file(tmp_path):
    (tmp_path / "MSRVTT.zip").write_text("<html>moved</html>")
    with pytest.raises(AnnotationError, match="MSRVTT.zip: is not a zip file.*remove it and try"):
        msrvtt.download(tmp_path, ["MSRVTT.zip"])
    assert not (tmp_path / "videos").exists()
