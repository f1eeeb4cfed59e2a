"""Random numbers from a seed, a SeedSequence or a Generator (SPEC 7), never from a global state."""

from typing import TypeAlias

import numpy as np

RNGLike: TypeAlias = (
    int | np.random.Generator | np.random.SeedSequence | np.random.BitGenerator | None
)


def as_generator(rng: RNGLike) -> np.random.Generator:
    """Turn what a user passes as `rng` into a Generator.

    Raises
    ------
    TypeError
        If `rng` is a legacy ``RandomState`` or something else that NumPy's ``default_rng`` refuses.
    """
    if isinstance(rng, np.random.RandomState):
        msg = "rng must be an integer seed or a numpy.random.Generator, not a legacy RandomState"
        raise TypeError(msg)
    return np.random.default_rng(rng)


def spawn(rng: RNGLike, n: int) -> list[np.random.Generator]:
    """Return `n` independent generators, one per task, whatever order the tasks run in."""
    return as_generator(rng).spawn(n)
