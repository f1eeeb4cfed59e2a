"""Flow on real cells of a type that was never stimulated: it reads each cell where it lies."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="networks need the extra `models`")

import shoal as sh
from shoal.metrics import energy_distance

pytestmark = pytest.mark.slow


def test_kang_a_cell_type_of_which_only_controls_are_given(read_real, one_thread):
    adata = read_real("kang18_scgen_valid.h5ad")
    sh.pp.annotate(adata, "condition", control="control", context_key="cell_type")
    sh.pp.split(adata, by="context", zero_shot=True, test=["B"])
    sh.pp.prepare(adata, normalize="log1p", fit_on="train", n_top_genes=1000, cross_fit=0)
    settings = {"default": {}, "relative": {"relative_to_control": True}}
    for name, config in settings.items():
        model = sh.tl.fit(adata, "flow", rng=0, max_steps=300, response_share=1, config=config)
        sh.tl.predict(adata, model, key_added=name, subset="test", rng=0)
    assert model.vocabulary.control_contexts == ("B",)
    ofb = (adata.obs["cell_type"] == "B").to_numpy()
    begun = (ofb & (adata.obs["condition"] == "control")).to_numpy()
    held = (adata.obs["split"] == "test").to_numpy()
    axes = adata.varm["PCs"]
    real = np.asarray(adata.X[held] @ axes)
    found = {
        name: energy_distance(np.asarray(adata.layers[name][held] @ axes), real)
        for name in settings
    } | {"control": energy_distance(np.asarray(adata.X[begun] @ axes), real)}
    assert found["default"] < 0.7 * found["relative"]
    assert found["default"] < 0.4 * found["control"]
