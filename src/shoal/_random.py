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
        If `rng` is no seed and no source of random numbers of NumPy's present interface.
    ValueError
        If `rng` is a negative seed.
    """
    allowed = "a seed (a whole number of at least 0), a numpy.random.Generator or None"
    if isinstance(rng, np.random.RandomState):
        msg = f"rng must be {allowed}, not a legacy RandomState"
        raise TypeError(msg)
    sources = (int, np.integer, np.random.Generator, np.random.SeedSequence)
    if rng is not None and (
        isinstance(rng, bool) or not isinstance(rng, (*sources, np.random.BitGenerator))
    ):
        msg = f"rng must be {allowed}, not {rng!r}"
        raise TypeError(msg)
    if isinstance(rng, (int, np.integer)) and rng < 0:
        msg = f"rng must be {allowed}, not {rng!r}"
        raise ValueError(msg)
    return np.random.default_rng(rng)


def spawn(rng: RNGLike, n: int) -> list[np.random.Generator]:
    """Return `n` independent generators, one per task, whatever order the tasks run in."""
    return as_generator(rng).spawn(n)
