"""Subtitles are read as plain text with a player's times, and files that are none get a reason."""

import io
from fractions import Fraction

import av
import pytest

from tempme_jax.video import subtitles
from tempme_jax.video.errors import VideoError
from tempme_jax.video.subtitles import Line, SubtitleRequest, join_lines, read_subtitles

SRT = """1
00:00:01,000 --> 00:00:03,500
We need a <i>bigger</i> boat.

2
00:00:04,000 --> 00:00:06,000
{\\an8}Don't you think?
Second line
"""
VTT = """WEBVTT

NOTE of nobody

one
00:01.000 --> 00:03.500 align:start
<v Bob>We need a <b>bigger</b> boat.

00:04.000 --> 00:06.000
Don't you<00:05.000> think?
Second line
"""
ASS = """[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour
Style: Default,Arial,20,&H00FFFFFF

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:04.00,0:00:06.00,Default,,0,0,0,,Don't you think?\\NSecond line
Dialogue: 0,0:00:01.00,0:00:03.50,Default,,0,0,0,,We need a {\\i1}bigger{\\i0} boat.
Dialogue: 0,0:00:02.00,0:00:03.00,Default,,0,0,0,,{\\p1}m 0 0 l 100 0 100 100{\\p0}
Comment: 0,0:00:02.00,0:00:03.00,Default,,0,0,0,,not shown
"""
LINES = [Line(1.0, 3.5, "We need a bigger boat."), Line(4.0, 6.0, "Don't you think?\nSecond line")]
MANY = "1\n00:00:0{0},000 --> 00:00:0{0},500\nline {0}\n\n"
FRENCH = "1\n00:00:01,000 --> 00:00:02,000\nOù étais-tu hier soir, à côté de la forêt ?\n"


def read_text(folder, data, name="a.srt"):
    """The lines of a file with some bytes."""
    file = folder / name
    file.write_bytes(data.encode() if isinstance(data, str) else data)
    return read_subtitles(SubtitleRequest(file=str(file), root=str(folder)))[0].lines


def put_track(path, text=SRT, *, start=0.0, language="eng"):
    """Write a film that holds subtitles as a track, and starts at some second."""
    with av.open(str(path), "w") as film, av.open(io.BytesIO(text.encode()), format="srt") as texts:
        picture = film.add_stream("mpeg4", 10)
        picture.width = picture.height = 16
        track = film.add_stream_from_template(texts.streams.subtitles[0])
        track.metadata["language"] = language
        for packet in texts.demux(texts.streams.subtitles[0]):
            if packet.dts is not None:
                packet.pts, packet.stream = packet.pts + int(1000 * start), track
                packet.dts = packet.pts
                film.mux(packet)
        for number in range(3):
            frame = av.VideoFrame(16, 16, "yuv420p")
            frame.pts, frame.time_base = number + int(10 * start), Fraction(1, 10)
            film.mux(picture.encode(frame))
        film.mux(picture.encode())
    return path


@pytest.mark.parametrize(
    "name, text", [("a.srt", SRT), ("a.vtt", VTT), ("a.ass", ASS), ("a.srt", VTT), ("a.ssa", ASS)]
)
def test_formats(tmp_path, name, text):
    assert read_text(tmp_path, text, name) == LINES
    assert read_text(tmp_path, text.replace("\n", "\r\n"), name) == LINES


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_encodings(tmp_path, encoding):
    line = FRENCH.splitlines()[2]
    assert [one.text for one in read_text(tmp_path, FRENCH.encode(encoding))] == [line]


def test_encodings_of_other_scripts(tmp_path):
    for encoding, text in (
        ("cp1251", "Мы хотим большой корабль сегодня вечером. Пойдём домой, уже поздно"),
        ("shift_jis", "大きな船が必要です。今日は天気がいいですね"),
    ):
        data = FRENCH.replace(FRENCH.splitlines()[2], text).encode(encoding)
        assert [one.text for one in read_text(tmp_path, data)] == [text]


def test_a_damaged_file_of_utf_8_stays_utf_8(tmp_path):
    line = FRENCH.splitlines()[2]
    data = FRENCH.encode() + b"\n2\n00:01:00,000 --> 00:01:01,000\nlast \xff"
    assert [one.text for one in read_text(tmp_path, data)] == [line, "last \ufffd"]


def test_what_is_broken_is_read_as_far_as_it_goes(tmp_path):
    broken = SRT + "\n3\n00:00:09,000 --> 00:00:08,000\nbackwards\n\n4\n00:00:11,0"
    assert read_text(tmp_path, broken)[:2] == LINES
    assert read_text(tmp_path, broken)[2].start == 9.0 < read_text(tmp_path, broken)[2].end


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "without a line"),
        (b"hello\nworld\n", "without a line"),
        (bytes(range(256)) * 99, "not text"),
        (b"\x00\x01\x02\x03" * 999, "not text"),
        (b"a" * 2000, "MiB"),
        ("".join(map(MANY.format, range(9))).encode(), "more than 5 lines"),
    ],
)
def test_what_is_no_subtitles_has_a_reason(tmp_path, monkeypatch, data, reason):
    monkeypatch.setattr(subtitles, "MOST_LINES", 5)
    if reason == "MiB":
        monkeypatch.setattr(subtitles, "MOST_BYTES", 1000)
    with pytest.raises(VideoError, match=reason):
        read_text(tmp_path, data)


def test_a_link_out_of_the_folder_is_not_read(tmp_path):
    (tmp_path / "inside").mkdir()
    (tmp_path / "private").write_text(SRT)
    link = tmp_path / "inside" / "a.srt"
    link.symlink_to(tmp_path / "private")
    with pytest.raises(VideoError, match="link"):
        read_subtitles(SubtitleRequest(file=str(link), root=str(link.parent)))


def test_tracks_in_a_video_count_from_its_start(tmp_path):
    for start in (0.0, 5.0):
        file = put_track(tmp_path / "a.mkv", start=start)
        (track,) = read_subtitles(SubtitleRequest(file=str(file), in_video=True))
        assert (track.number, track.language, track.reason) == (1, "eng", "")
        assert track.lines == LINES


def test_captions_that_roll_on_are_said_once(tmp_path):
    rolling = "WEBVTT\n\n00:00.000 --> 00:02.000\none\n\n00:02.000 --> 00:04.000\none\ntwo\n"
    assert [line.text for line in read_text(tmp_path, rolling, "a.vtt")] == ["one", "two"]


def test_passages_share_a_line_unless_there_is_a_pause():
    lines = [Line(start, start + 2, str(start)) for start in (0, 2, 4, 6, 30)]
    passages = [[line.text for line in passage] for passage in join_lines(lines, 5)]
    assert passages == [["0", "2", "4"], ["4", "6"], ["30"]]
    assert list(join_lines([], 5)) == []
