"""The suffixes by which video files are recognised."""

from tempme_jax.video.suffixes import (
    AMBIGUOUS_SUFFIXES,
    DATASET_SUFFIXES,
    LISTED_SUFFIXES,
    MEDIA_TYPES,
    VIDEO_SUFFIXES,
)


def test_every_suffix_that_is_indexed_has_a_media_type():
    assert VIDEO_SUFFIXES == set(MEDIA_TYPES) and len(VIDEO_SUFFIXES) > 45
    assert all(name.startswith(("video/", "image/")) for name in MEDIA_TYPES.values())
    assert all(name == name.lower() and name[0] == "." for name in VIDEO_SUFFIXES)


def test_suffixes_of_older_versions_are_still_taken():
    before = ".mp4 .m4v .mov .qt .f4v .3gp .3g2 .webm .mkv .ogv .ogg .avi .divx .ts .mts .m2ts"
    assert VIDEO_SUFFIXES > set(f"{before} .mpg .mpeg .vob .flv .wmv .asf".split())
    assert AMBIGUOUS_SUFFIXES < VIDEO_SUFFIXES


def test_suffixes_of_data_sets():
    kept = ".mp4 .mkv .webm .avi .mov .m4v .3gp .ts .mpg .mpeg .flv .wmv .asf .ogv".split()
    assert set(kept) == DATASET_SUFFIXES
    assert LISTED_SUFFIXES < VIDEO_SUFFIXES and ".360" not in LISTED_SUFFIXES
