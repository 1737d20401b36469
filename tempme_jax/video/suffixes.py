"""Suffixes of video files, in lower case.

This module imports nothing, so any other may import it.
"""

# The media type that is sent with each of them. Formats related to MP4, such as .mov, are called
# MP4, since browsers play many of them but refuse their own types.
MEDIA_TYPES = {
    # .mp: the film of a Motion Photo; .lrv and .lrf: small copies that cameras make for a preview;
    # .insv and .360: of cameras that look all around
    **dict.fromkeys(
        ".mp4 .m4v .mov .qt .f4v .3gp .3g2 .mp .lrv .lrf .insv .360 .ismv".split(), "video/mp4"
    ),
    ".webm": "video/webm",
    **dict.fromkeys((".mkv", ".mk3d"), "video/x-matroska"),
    **dict.fromkeys((".ogv", ".ogg", ".ogm"), "video/ogg"),
    **dict.fromkeys((".avi", ".divx"), "video/x-msvideo"),
    # .tod, .mod and .vro: of camcorders and recorders
    **dict.fromkeys((".ts", ".mts", ".m2ts", ".m2t", ".trp", ".tp", ".tod"), "video/mp2t"),
    **dict.fromkeys(".mpg .mpeg .mpe .mpv .m1v .m2v .m2p .vob .vro .mod".split(), "video/mpeg"),
    ".flv": "video/x-flv",
    **dict.fromkeys((".wmv", ".asf", ".dvr-ms"), "video/x-ms-wmv"),
    ".wtv": "video/x-ms-wtv",
    **dict.fromkeys((".rm", ".rmvb"), "video/vnd.rn-realvideo"),
    ".mxf": "video/mxf",
    **dict.fromkeys((".dv", ".dif"), "video/dv"),
    **dict.fromkeys((".h264", ".264"), "video/h264"),
    **dict.fromkeys((".h265", ".265", ".hevc"), "video/h265"),
    **dict.fromkeys((".ivf", ".obu"), "video/av1"),
    ".y4m": "video/x-yuv4mpeg",
    # Only animations are taken.
    ".gif": "image/gif",
    ".webp": "image/webp",
}

# The names that `tempme index` opens and `tempme serve` sends: suffixes of all the containers
# that `container.open_video` accepts.
VIDEO_SUFFIXES = frozenset(MEDIA_TYPES)

# Suffixes that other programs give to other files: programs and translations (.ts), music (.mod),
# pictures. Such files are passed over, not reported as broken.
AMBIGUOUS_SUFFIXES = frozenset(
    ".ts .mts .tp .mod .mp .dv .rm .ogg .gif .webp .obu .lrf .360".split()
)

# The files that a data set's annotations can mean when they name a video without its suffix. The
# other suffixes are left out: files such as a sound track (.ogg) may lie beside the video, and the
# end of a name such as "clip.360" may be no suffix.
DATASET_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .3gp .webm .mkv .ogv .avi .ts .mpg .mpeg .flv .wmv .asf".split()
)
# What is cut off the name of a file that annotations list.
LISTED_SUFFIXES = DATASET_SUFFIXES | set(".qt .f4v .3g2 .ogg .divx .mts .m2ts .vob".split())

# Files of subtitles, and libav's names of their formats.
SUBTITLE_FORMATS = {".srt": "srt", ".vtt": "webvtt", ".ass": "ass", ".ssa": "ass"}
