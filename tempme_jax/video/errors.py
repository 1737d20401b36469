"""The error of files that are no readable videos."""


class VideoError(Exception):
    """No frames can be read from a file.

    Attributes:
        path: path of the file.
        reason: why not, in a few words.
        kind: what else the file is, one of `kinds.KINDS`; "" if that is not known.
    """

    def __init__(self, path: str, reason: str, kind: str = ""):
        # Exception gets all, so the error can be pickled.
        super().__init__(path, reason, kind)
        self.path = path
        self.reason = reason
        self.kind = kind

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"
