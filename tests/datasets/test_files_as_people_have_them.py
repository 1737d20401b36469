"""Annotations and names of videos as spreadsheets, other systems and other projects make them."""

import json
import unicodedata

import pytest
from annotation_files import list_videos, make_msrvtt_files, write

from tempme_jax.datasets.base import AnnotationError
from tempme_jax.datasets.check import check_data_set, print_report

CAFE = unicodedata.normalize("NFC", "caf\u00e9")


def list_folder(root, split="train"):
    return list_videos("folder", root, split)


TABLES = {
    "semicolons": "file;caption;split\na.mp4;a cat, asleep;train\n",
    "tabs": "file\tcaption\tsplit\na.mp4\ta cat, asleep\ttrain\n",
    "bars": "file|caption|split\na.mp4|a cat, asleep|train\n",
    "a line for Excel": "sep=;\nfile;caption;split\na.mp4;a cat, asleep;train\n",
    "capitals and spaces": 'File, Caption ,SPLIT\na.mp4,"a cat, asleep",train\n',
    "UTF-16": "file\tcaption\tsplit\na.mp4\ta cat, asleep\ttrain\n".encode("utf-16"),
    "empty columns and rows": 'file,caption,split,,\n,,,,\na.mp4,"a cat, asleep",train,,\n,,,,\n',
    "carriage returns only": 'file,caption,split\ra.mp4,"a cat, asleep",train\r',
    "quoted names": '"file";"caption";"split"\n"a.mp4";"a cat, asleep";"train"\n',
}


@pytest.mark.parametrize("table", TABLES)
def test_tables_of_spreadsheets(tmp_path, table):
    root = write(tmp_path, {"captions.csv": TABLES[table], "a.mp4": ""})
    (video,) = list_folder(root)
    assert (video.captions, video.file) == (("a cat, asleep",), root / "a.mp4")


CAPTIONS = "file,caption,split\na.mp4,ein grüßender Hund – glücklich,train\n"
WIDE = "is probably {0}-LE without a byte order mark; save .*: iconv -f {0}LE -t UTF-8 "
ENCODINGS = {
    "utf-16-le": WIDE.format("UTF-16"),
    "utf-16-be": "is probably UTF-16-BE without .*: iconv -f UTF-16BE -t UTF-8 ",
    "utf-32-le": WIDE.format("UTF-32"),
    "cp1252": r"line 2: is not UTF-8 text, but probably Windows-1252, in which this line has "
    r"'a.mp4,ein grüßender Hund'; save it as UTF-8 .*iconv -f WINDOWS-1252 -t UTF-8 .*captions.csv",
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_other_encodings_are_named(tmp_path, encoding):
    root = write(tmp_path, {"captions.csv": CAPTIONS.encode(encoding), "a.mp4": ""})
    with pytest.raises(AnnotationError, match=ENCODINGS[encoding]) as caught:
        list_folder(root)
    name = encoding.upper() if encoding != "cp1252" else "Windows-1252"
    assert f"probably {name}" in str(caught.value)


def test_damaged_text_is_not_taken_for_another_encoding(tmp_path):
    data = CAPTIONS.encode()
    for text, encoding in (
        ("一只猫在桌子上跳", "gbk"),
        ("猫が跳ぶ", "shift-jis"),
        ("кошка", "cp1251"),
    ):
        root = write(tmp_path, {"captions.csv": f"file,caption\na.mp4,{text}\n".encode(encoding)})
        with pytest.raises(AnnotationError, match="line 2: .*older encoding, such as GB18030"):
            list_folder(root)
    root = write(tmp_path, {"captions.csv": data.replace("–".encode(), b"\xe2"), "a.mp4": ""})
    with pytest.raises(AnnotationError, match="line 2: is UTF-8 text but for some bytes"):
        list_folder(root)
    write(tmp_path, {"captions.csv": CAPTIONS.encode("utf-16")[:-1]})
    with pytest.raises(AnnotationError, match="is UTF-16 text but for some bytes"):
        list_folder(root)
    write(tmp_path, {"captions.csv": CAPTIONS.encode("utf-32")})
    assert "glücklich" in list_folder(root)[0].captions[0]


def test_a_json_list_gives_one_or_more_captions(tmp_path):
    listed = [
        {"video": "a.mp4", "caption": "one", "split": "train"},
        {"video": "b.mp4", "caption": ["two", "three"], "split": "train"},
    ]
    root = write(tmp_path, {"captions.json": listed})
    assert [video.captions for video in list_folder(root)] == [("one",), ("two", "three")]
    for wrong, message in (
        ([{"video": "a.mp4", "caption": []}], r"item\[0\]: caption is empty"),
        ([{"video": "a.mp4", "caption": [1]}], r"item\[0\]: caption must be text, not 1"),
        ({"video": "a.mp4"}, "must hold a list, not a dict"),
    ):
        write(tmp_path, {"captions.json": json.dumps(wrong)})
        with pytest.raises(AnnotationError, match=message):
            list_folder(root)


@pytest.mark.parametrize(
    ("listed", "there"),
    [
        ("a/1.avi", "a/1.mp4"),
        ("a/1", "a/1.mp4"),
        ("a\\\\1.mp4", "a/1.mp4"),
        (".\\\\a\\\\1.avi", "a/1.webm"),
        (unicodedata.normalize("NFD", CAFE) + "/1.mp4", CAFE + "/1.mp4"),
        (CAFE + "/1.mp4", unicodedata.normalize("NFD", CAFE) + "/1.mp4"),
        (CAFE + "\\\\1.mov", unicodedata.normalize("NFD", CAFE) + "/1.mp4"),
    ],
)
def test_names_of_other_systems_are_found(tmp_path, listed, there):
    listed = listed.replace("\\\\", "\\")
    row = {"file": listed, "caption": "x", "split": "train"}
    (video,) = list_folder(write(tmp_path, {"captions.jsonl": [row], there: ""}))
    assert video.file == tmp_path / there


@pytest.mark.parametrize(
    ("listed", "there"),
    [
        ("a.mp4", "A.MP4"),
        ("a%20b.mp4", "a b.mp4"),
        ("videos/a.mp4", "a.mp4"),
        ("a .mp4", "a.mp4"),
    ],
)
def test_a_near_name_is_shown_and_not_taken(tmp_path, listed, there):
    row = {"file": listed, "caption": "x", "split": "train"}
    (video,) = list_folder(write(tmp_path, {"captions.jsonl": [row], there: ""}))
    assert video.file is None and video.looked_for.endswith(f"{listed} (there is {there!r})")


def test_a_file_of_another_suffix_is_not_taken_for_two_videos(tmp_path):
    rows = [{"file": f"a.{s}", "caption": s, "split": "train"} for s in ("avi", "mov", "mp4")]
    root = write(tmp_path, {"captions.jsonl": rows, "a.mp4": "", "a.webm": ""})
    assert [video.file for video in list_folder(root)] == [None, None, root / "a.mp4"]
    write(root, {"captions.jsonl": rows[:1]})
    with pytest.raises(AnnotationError, match="a.mp4 and a.webm are for one video; keep one"):
        list_folder(root)


def test_two_spellings_of_one_file_are_one_video(tmp_path):
    names = [unicodedata.normalize(form, CAFE) + ".mp4" for form in ("NFC", "NFD")]
    rows = [{"file": name, "caption": name, "split": "train"} for name in names]
    root = write(tmp_path, {"captions.jsonl": rows, names[0]: ""})
    (video,) = list_folder(root)
    assert len(video.captions) == 2


def test_a_split_does_not_follow_how_accents_are_written(tmp_path):
    for number in range(40):
        splits = set()
        for form in ("NFC", "NFD"):
            name = unicodedata.normalize(form, f"{CAFE}{number}.mp4")
            root = write(tmp_path / f"{number}{form}", {name: ""})
            write(root, {"captions.jsonl": [{"file": name, "caption": "x"}]})
            for split in ("train", "validation", "test"):
                try:
                    list_folder(root, split)
                except AnnotationError:
                    continue
                splits.add(split)
        assert len(splits) == 1


def test_a_file_found_by_its_stem_must_not_lead_out(tmp_path):
    row = {"file": "a.avi", "caption": "x", "split": "train"}
    root = write(tmp_path, {"in/captions.jsonl": [row], "out.mp4": ""}) / "in"
    (root / "a.mp4").symlink_to(tmp_path / "out.mp4")
    with pytest.raises(AnnotationError, match="'a.mp4' is a link that leads out of"):
        list_folder(root)


LISTS = {
    ("msrvtt", "train"): ("msrvtt_ret_train9k.json", "video7.mp4", "video7"),
    ("msrvtt", "test"): ("msrvtt_ret_test1k.json", "video7.mp4", "video7"),
    ("activitynet", "test"): ("anet_ret_val_1.json", "v_a-b.mp4", "v_a-b"),
    ("didemo", "validation"): ("didemo_ret_val.json", "1@N_2.mov", "1@N_2"),
    ("lsmdc", "test"): ("lsmdc_ret_test_1000.json", "X/X_0.1-0.2.avi", "X_0.1-0.2"),
}


@pytest.mark.parametrize(("name", "split"), LISTS)
def test_lists_of_vindlu_and_umt(tmp_path, name, split):
    file, path, stem = LISTS[name, split]
    listed = [{"video": path, "caption": ["one", "two"]}, {"video": path, "caption": "three"}]
    listed += [{"video": f"other{n}.mp4", "caption": "other"} for n in range(2)]
    root = write(tmp_path, {f"annotations/{file}": listed, f"videos/all/{stem}.mp4": ""})
    joined = name in ("activitynet", "didemo")
    found = list_videos(name, root, split)
    if split == "train":
        found += list_videos(name, root, "validation")
    (video,) = (video for video in found if video.id == stem)
    assert len(found) == 3 and video.file == root / f"videos/all/{stem}.mp4"
    assert video.captions == (("one two three",) if joined else ("one", "two", "three"))


def test_a_set_s_own_files_come_before_a_list(tmp_path):
    lists = {"annotations/msrvtt_ret_test1k.json": [{"video": "v.mp4", "caption": "x"}]}
    root = write(tmp_path, make_msrvtt_files() | lists)
    assert len(list_videos("msrvtt", root, "test")) == 2
    (root / "annotations/MSRVTT_JSFUSION_test.csv").unlink()
    assert [video.id for video in list_videos("msrvtt", root, "test")] == ["v"]
    write(root, {"annotations/msrvtt_ret_test1k.json": "[]"})
    with pytest.raises(AnnotationError, match="msrvtt_ret_test1k.json: holds no captions"):
        list_videos("msrvtt", root, "test")


def test_the_report_names_near_files_and_counts_other_suffixes(tmp_path, capsys):
    rows = [{"file": f, "caption": "x", "split": "train"} for f in ("a.avi", "b.mp4")]
    root = write(tmp_path, {"captions.jsonl": rows, "a.mp4": "", "B.mp4": ""})
    print_report(check_data_set("folder", root, deep=False))
    printed = " ".join(capsys.readouterr().out.split())
    assert "train: 1 file with another suffix than listed (a.avi is a.mp4)" in printed
    assert "b.mp4 (there is 'B.mp4'): not found" in printed
