"""The suffixes by which video files are recognised."""

from tempme_jax.video.suffixes import DATASET_SUFFIXES, MEDIA_TYPES, VIDEO_SUFFIXES


def test_every_suffix_that_is_indexed_has_a_media_type():
    assert VIDEO_SUFFIXES == set(MEDIA_TYPES) and len(VIDEO_SUFFIXES) == 22
    assert all(name.startswith("video/") for name in MEDIA_TYPES.values())


def test_suffixes_of_data_sets():
    kept = ".mp4 .mkv .webm .avi .mov .m4v .3gp .ts .mpg .mpeg .flv .wmv .asf .ogv".split()
    assert set(kept) == DATASET_SUFFIXES
