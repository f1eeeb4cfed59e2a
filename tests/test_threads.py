"""Statistics compute with one thread, give the threads back, and do not depend on how many there were."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import scipy.linalg  # noqa: F401 (its library is one of those that are looked at)
from threadpoolctl import ThreadpoolController, threadpool_limits

import shoal as sh
from shoal._threads import each, one_thread


def threads():
    """Return the numbers of threads of the linear algebra libraries."""
    pools = ThreadpoolController().select(user_api="blas").info()
    return {pool["num_threads"] for pool in pools}


@pytest.fixture(autouse=True)
def two_threads():
    """Begin with two threads, whatever the environment says."""
    with threadpool_limits(2, user_api="blas"):
        if threads() != {2}:
            pytest.skip(f"the linear algebra library takes no number of threads: {threads()}")
        yield


def test_one_thread_within_and_as_many_as_before_after():
    with one_thread():
        assert threads() == {1}
        with one_thread():
            assert threads() == {1}
        assert threads() == {1}
    assert threads() == {2}


def test_after_an_error_too():
    with pytest.raises(ValueError, match="told"), one_thread():
        raise ValueError("told")
    assert threads() == {2}


def test_each_does_as_many_at_a_time_as_there_were_threads():
    together = threading.Barrier(2, timeout=120)

    def call(item):
        together.wait()  # a call alone would wait in vain
        assert threads() == {1}
        return item**2

    with one_thread():
        assert list(each(call, [1, 2, 3, 4])) == [1, 4, 9, 16]
        assert list(each(abs, [])) == []
    with threadpool_limits(1, user_api="blas"), one_thread():
        names = set(each(lambda _: threading.current_thread().name, [1, 2, 3]))
    assert names == {threading.current_thread().name}


def test_each_raises_what_a_call_raises():
    def call(item):
        raise ValueError(f"item {item}")

    with one_thread(), pytest.raises(ValueError, match="item 1"):
        list(each(call, [1, 2]))
    assert threads() == {2}


def test_other_threads_leave_the_number_as_it_is():
    """Calls that overlap in several threads cannot give the threads back at the wrong time."""
    inside, leave = threading.Event(), threading.Event()

    def other():
        with one_thread():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with one_thread():
        thread.start()
        assert inside.wait(10)
        assert threads() == {1}
    assert threads() == {2}
    leave.set()
    thread.join()
    assert threads() == {2}


def test_public_statistics_compute_with_one_thread(monkeypatch):
    """Seen from within: what reads the labels, in every one of them, notes the number of threads."""
    from shoal.core import _screen

    noted = []

    def spy(name):
        def read(*args):
            noted.append(threads())
            return getattr(_screen, name)(*args)

        return read

    adata = sh.ds.simulate_gaussian(n_perturbations=30, n_cells=30, n_control=200, rng=0)
    adata.obs["score"] = np.arange(adata.n_obs, dtype=float)
    sh.pp.annotate(adata, "perturbation", control="control")
    calls = {
        "tl._coherence": lambda: sh.tl.coherence(adata),
        "tl._coherence_null": lambda: sh.tl.coherence_null(adata, n_cells=[30], n_draws=2),
        "tl._distance": lambda: sh.tl.distance(adata),
        "tl._associate": lambda: sh.tl.associate(adata, "score", method="spline", n_perms=19),
        "pp._prepare": lambda: sh.pp.prepare(adata, n_top_genes=None, n_comps=3),
    }
    for module in calls:
        __import__(f"shoal.{module}")
        for name in {"labels", "perturbed_labels"} & set(vars(sys.modules[f"shoal.{module}"])):
            monkeypatch.setattr(sys.modules[f"shoal.{module}"], name, spy(name))
    for call in calls.values():
        call()
    assert len(noted) >= len(calls)
    assert all(seen == {1} for seen in noted)
    assert threads() == {2}


PROGRAM = """
import numpy as np, shoal as sh
adata = sh.ds.simulate_gaussian(n_perturbations=20, n_cells=40, n_control=400, n_dims=30, rng=0)
sh.tl.coherence(adata, "perturbation", control="control")
sh.tl.distance(
    adata, "perturbation", control="control", metric="energy", n_perms=99, alpha=0.5
)
sh.pp.prepare(adata, "perturbation", control="control", n_top_genes=None, n_comps=5)
print(adata.obsm["X_pca"].tobytes().hex())
for name in ("coherence", "distance"):
    print(adata.uns[name]["table"].select_dtypes("number").to_numpy().tobytes().hex())
"""


def test_results_do_not_depend_on_the_default():
    """Bit for bit the same with the default number of threads as with one."""
    found = []
    for number in ("1", "2"):
        environment = os.environ | dict.fromkeys(
            ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), number
        )
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, check=True
        )
        found.append(done.stdout)
    assert found[0] == found[1] != b""


def test_a_warning_of_a_statistic_names_the_line_that_called_it():
    adata = sh.ds.simulate(n_perturbations=4, n_cells=20, n_control=40, n_genes=40, rng=0)
    sh.pp.annotate(adata, "perturbation", control="control")
    sh.pp.prepare(adata, normalize="log1p", n_comps=5)
    with pytest.warns(UserWarning, match="n_perms=9") as caught:
        sh.tl.distance(adata, n_perms=9)
    assert [warning.filename for warning in caught] == [__file__]
