"""Which work takes several threads: whole pieces of work do, single products of matrices do not.

The linear algebra library wakes every core for every product. Statistics make thousands of products
that each take less time than waking a core does, so that with default threads they would be several
times slower than with one. Public statistics therefore run in `one_thread`. Where they have pieces
of work that do not depend on one another, `each` does several at a time, each with one thread.

Only the library behind NumPy and SciPy is told (OpenBLAS, MKL, BLIS), and only for the time of the
call. A smaller number, set by the user, is kept, also by `each`. Torch and numba are left alone. So
are calls from other threads than the main one: the number is one for the whole process, and calls
that overlap would give it back at the wrong time.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")
R = TypeVar("R")


@cache
def _libraries() -> Any:
    """Return the linear algebra libraries of this process; looking for them takes 10 ms, once."""
    import scipy.linalg  # noqa: F401 (it loads a library of its own)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


_before: list[int] = []  # threads that there were before the call in which this one runs


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
    if _before or threading.current_thread() is not threading.main_thread():
        yield
        return
    libraries = _libraries()
    _before.append(max((library["num_threads"] for library in libraries.info()), default=1))
    limit = libraries.limit(limits=1)
    try:
        yield
    finally:
        limit.restore_original_limits()
        _before.clear()


def each(function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """Yield ``function(item)`` for every item, in order; for use within `one_thread`.

    As many calls run at a time as there were threads before. They must not depend on one another,
    and should spend their time in NumPy. Results are the same for any number of threads.

    Examples
    --------
    >>> from shoal._threads import each
    >>> list(each(abs, [-1, 2]))
    [1, 2]
    """
    main = threading.current_thread() is threading.main_thread()
    n = min(_before[0] if _before and main else 1, len(items))
    if n < 2:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(n) as pool:
        yield from pool.map(function, items)
