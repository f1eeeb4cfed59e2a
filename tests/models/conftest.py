"""A small logged screen with known truth, and networks that are trained in a moment."""

from __future__ import annotations

import pytest

import shoal as sh

TINY = {"n_latent": 8, "width": 16, "depth": 1}
FAST = {
    "max_steps": 30,
    "val_every": 10,
    "batch_conditions": 4,
    "set_size": 16,
    "accelerator": "cpu",
}


@pytest.fixture(scope="session")
def logged():
    """Return 5 perturbations and 2 pairs of them, 40 cells each, 80 controls, 2 contexts, 2 batches, 60 genes."""
    adata = sh.ds.simulate(
        n_perturbations=5, n_cells=40, n_control=80, n_genes=60, n_combinations=2, contexts=2, rng=0
    )
    sh.pp.prepare(adata, normalize="log1p", n_comps=8)
    return adata


@pytest.fixture
def screen(logged):
    return logged.copy()


@pytest.fixture
def divided(screen):
    """Return the screen with ``P4+P5`` held out for the test and ``P1+P4`` for validation."""
    sh.pp.split(screen, by="combination", test=["P4+P5"], val=["P1+P4"])
    return screen


@pytest.fixture
def one_thread():
    """Keep torch to one thread, as OMP_NUM_THREADS=1 asks; numba's pool, once it is started, overrides that."""
    torch = pytest.importorskip("torch", reason="networks need the extra 'models'")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def fit_flow(one_thread):
    """Return what trains a small flow; arguments are those of ``tl.fit``."""

    def fit(adata, *, config=None, **arguments):
        return sh.tl.fit(adata, "flow", config=TINY | (config or {}), **FAST | arguments)

    return fit


@pytest.fixture
def fit_perturbdiff(one_thread):
    """Return what trains a small PerturbDiff; arguments are those of ``tl.fit``."""

    def fit(adata, *, config=None, **arguments):
        return sh.tl.fit(
            adata,
            "perturbdiff",
            config={"width": 16, "depth": 1} | (config or {}),
            **FAST | arguments,
        )

    return fit
