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
        Whether long work shows a progress bar. ``None`` shows it on a terminal only.
    """

    block_bytes: int = 32 * 2**20
    progress: bool | None = None


settings = Settings()
