"""The few numbers that a user may want to change for a whole session."""

from dataclasses import dataclass


@dataclass
class Settings:
    """Settings of a session. Results do not depend on them.

    Attributes
    ----------
    block_bytes
        Upper size of one block of rows of a matrix, in bytes.
    progress
        How long work shows how far it is: ``True`` for a bar, ``False`` for nothing. ``None`` for
        a bar on a terminal, and a line every few seconds in notebooks and files.
    """

    block_bytes: int = 32 * 2**20
    progress: bool | None = None


settings = Settings()
