"""What can be wrong with an index of videos."""


class VideoIndexError(ValueError):
    """An index that cannot be made, opened, read or written; it says why, and what to do."""
