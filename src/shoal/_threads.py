"""How many threads a product of matrices takes: one, unless the product is large.

The linear algebra library wakes every core for every product. Statistics make thousands of products
that each take less time than waking a core does, so that with default threads they would be several
times slower than with one. Public statistics therefore run in `one_thread`. A product that is large
enough for all cores asks for them with `many_threads`.

Only the library behind NumPy and SciPy is told (OpenBLAS, MKL, BLIS), and only for the time of the
call. A smaller number, set by the user, is kept. Torch and numba are left alone. So are calls from
other threads than the main one: the number is one for the whole process, and calls that overlap
would give it back at the wrong time.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGE = 1e9  # operations from which a product repays waking the other cores (0.05 s of one core)


@cache
def _libraries() -> Any:
    """Return the linear algebra libraries of this process; looking for them takes 10 ms, once."""
    import scipy.linalg  # noqa: F401 (it loads a library of its own)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


_limits: list[Any] = []  # of the calls within which this one runs, the outermost first


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute products with one thread within this context, or in the function that this decorates.

    Examples
    --------
    >>> from shoal._threads import one_thread
    >>> import numpy as np
    >>> @one_thread()
    ... def gram(x):
    ...     return x.T @ x
    >>> gram(np.ones((2, 1)))
    array([[2.]])
    """
    if _limits or threading.current_thread() is not threading.main_thread():
        yield
        return
    _limits.append(_libraries().limit(limits=1))
    try:
        yield
    finally:
        _limits.pop().restore_original_limits()


@contextmanager
def many_threads(operations: float) -> Iterator[None]:
    """Compute one large product with as many threads as there were before `one_thread`.

    Parameters
    ----------
    operations
        Multiplications and additions: 2 n m k for a product of (n, k) with (k, m). Below `LARGE`
        the number of threads stays as it is. An eigendecomposition is no such product: it is
        made of thousands of small ones.
    """
    main = threading.current_thread() is threading.main_thread()
    if operations < LARGE or not _limits or not main:
        yield
        return
    _limits[0].restore_original_limits()
    try:
        yield
    finally:
        _libraries().limit(limits=1)
