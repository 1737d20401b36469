"""Suffixes of video files, in lower case.

This module imports nothing, so any other may import it.
"""

# The media type that is sent with each of them. Formats related to MP4, such as .mov, are called
# MP4, since browsers play many of them but refuse their own types.
MEDIA_TYPES = {
    **dict.fromkeys((".mp4", ".m4v", ".mov", ".qt", ".f4v", ".3gp", ".3g2"), "video/mp4"),
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    **dict.fromkeys((".ogv", ".ogg"), "video/ogg"),
    **dict.fromkeys((".avi", ".divx"), "video/x-msvideo"),
    **dict.fromkeys((".ts", ".mts", ".m2ts"), "video/mp2t"),
    **dict.fromkeys((".mpg", ".mpeg", ".vob"), "video/mpeg"),
    ".flv": "video/x-flv",
    **dict.fromkeys((".wmv", ".asf"), "video/x-ms-wmv"),
}

# The names that `tempme index` opens and `tempme serve` sends: suffixes of all the containers
# that `container.open_video` accepts.
VIDEO_SUFFIXES = frozenset(MEDIA_TYPES)

# The files that a data set's annotations can mean when they name a video without its suffix. The
# other suffixes are left out: files such as a sound track (.ogg) may lie beside the video.
DATASET_SUFFIXES = VIDEO_SUFFIXES - set(".qt .f4v .3g2 .ogg .divx .mts .m2ts .vob".split())
