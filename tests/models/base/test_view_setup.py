from __future__ import annotations

import pytest

import shoal as sh

pytest.importorskip("scvi", reason="scvi-tools, of the extra models, is not installed")


@pytest.mark.slow
def test_a_model_shows_how_it_was_set_up(capsys):
    adata = sh.ds.simulate(n_perturbations=3, n_cells=70, n_control=80, n_genes=20, rng=0)
    sh.pp.prepare(adata, normalize="log1p", n_comps=5)
    sh.tl.fit(adata, "flow", max_steps=2).view_anndata_setup()
    shown = capsys.readouterr().out
    assert "Flow.setup_anndata" in shown
    assert "adata.X" in shown
