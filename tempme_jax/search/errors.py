"""Errors of an index of videos."""


class VideoIndexError(ValueError):
    """An index cannot be created, opened, read or written; the message says what to do."""


class NewerIndexError(VideoIndexError):
    """An index was made by a newer version of this package."""
