"""The one error about a picture, and how paths are named in it."""

import os

OR_SKIP = ", or skip it with on_error='skip'"
"""What a reason ends with where the caller may go on without the picture; a command puts its own option there."""


class PictureError(ValueError):
    """A picture that cannot be read: which, why, and what to do.

    Attributes:
        name: which picture.
        reason: what is wrong with it and what to do.
    """

    def __init__(self, reason: str, name: str = "") -> None:
        super().__init__(reason)
        self.reason, self.name = reason, name

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}" if self.name else self.reason


def path_text(path: str | os.PathLike) -> str:
    """A path for people: what is not UTF-8 or cannot be printed stands as an escape such as `\\xe9`."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
