"""Image-based profiles as mantispy writes them (schema 1.0) go in as they are: vector form, no images.

The layout is that of ``mantispy.io.validate``: ``Metadata_*`` in obs, parsed names of features in var, float32 X,
and a dict in ``uns["mantispy"]``. mantispy itself is not needed.
"""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from tests.helpers import contents

import shoal as sh

VAR = [
    "object",
    "feature_group",
    "feature",
    "channel",
    "scale",
    "angle",
    "gray_levels",
    "radial_bin",
    "params",
]


def profiles():
    """Return 480 well profiles: two lines, two plates, six compounds at two doses, 30 features."""
    rng = np.random.default_rng(0)
    names = [
        f"{o}_AreaShape_{f}"
        for o in ("Cells", "Nuclei")
        for f in ("Area", "Solidity", "FormFactor")
    ]
    names += [
        f"{o}_{g}_{c}"
        for o in ("Cells", "Nuclei", "Cytoplasm")
        for g in (
            "Intensity_MeanIntensity",
            "Texture_Contrast",
            "Granularity_1",
            "RadialDistribution_FracAtD",
        )
        for c in ("DNA", "ER")
    ]
    wells = [f"{row}{column:02d}" for row in "ABCDEFGH" for column in range(1, 16)]
    obs = pd.DataFrame(
        [
            {"Metadata_Plate": f"Plate{p}", "Metadata_Well": well, "Metadata_CellLine": line}
            for line in ("A549", "U2OS")
            for p in (1, 2)
            for well in wells
        ]
    )
    n, place = len(obs), np.tile(np.arange(len(wells)), 4)
    compound = np.where(place % 4 == 0, "DMSO", np.char.add("cpd", (place % 6).astype(str)))
    obs["Metadata_Perturbation"] = pd.Categorical(compound)
    obs["Metadata_Control"] = compound == "DMSO"
    dose = np.where(place % 8 < 4, 1.0, 10.0)
    obs["Metadata_Concentration"] = np.where(compound == "DMSO", np.nan, dose)
    obs["Metadata_CellCount"] = rng.poisson(200, n)
    for column in ("Metadata_Plate", "Metadata_Well", "Metadata_CellLine"):
        obs[column] = obs[column].astype("category")
    obs.index = [f"well_{i}" for i in range(n)]
    effect = rng.normal(size=(6, len(names)))
    x = rng.normal(size=(n, len(names)))
    treated = compound != "DMSO"
    x[treated] += effect[place[treated] % 6] * dose[treated, None] / 10
    var = pd.DataFrame(index=names)
    for column in VAR:
        var[column] = pd.Categorical.from_codes(
            np.full(len(names), -1, dtype=np.int8), pd.Index([], dtype=object)
        )
    var["object"] = pd.Categorical([name.split("_")[0] for name in names])
    for column in ("scale", "angle", "gray_levels"):
        var[column] = np.nan
    var["is_feature"] = True
    adata = ad.AnnData(x.astype(np.float32), obs=obs, var=var)
    adata.uns["mantispy"] = {
        "schema_version": "1.0",
        "resolution": "well",
        "channels": ["DNA", "ER"],
        "image_table": pd.DataFrame(
            {"Image_ImageQuality_FocusScore_DNA": rng.normal(size=4)}, index=list("abcd")
        ),
    }
    return adata


@pytest.fixture(params=["memory", "h5ad", "zarr"])
def adata(request, tmp_path):
    made = profiles()
    if request.param == "memory":
        return made
    getattr(made, f"write_{request.param}")(tmp_path / "profiles")
    return getattr(ad, f"read_{request.param}")(tmp_path / "profiles")


def test_profiles_are_measured_split_predicted_and_judged(adata):
    before = contents(adata)
    sh.pp.annotate(
        adata,
        "Metadata_Perturbation",
        control="DMSO",
        batch_key="Metadata_Plate",
        context_key="Metadata_CellLine",
        dose_key="Metadata_Concentration",
    )
    sh.pp.split(adata, by="context", test=["U2OS"])
    sh.pp.prepare(adata, n_top_genes=None, n_comps=10)
    sh.tl.coherence(adata, min_cells=5)
    found = adata.uns["coherence"]["table"]
    assert sorted(found.index) == [f"cpd{i}" for i in range(6)]
    model = sh.tl.fit(adata, "own_shift")
    sh.tl.predict(adata, model, key_added="shifted", subset="test")
    sh.tl.evaluate(
        adata,
        prediction="shifted",
        metrics=["energy", "pearson_delta"],
        min_cells=8,
        n_draws=2,
        baselines=["mean_shift"],
    )
    judged = adata.uns["evaluation"]["table"]
    assert len(judged) == 12
    assert np.isfinite(judged["energy"]).all()
    after = contents(adata)
    ours = {"obs", "uns", "obsm", "varm", "layers", "var"}  # lists of keys
    changed = {name for name in before if name not in ours and after[name] != before[name]}
    assert not changed


@pytest.mark.slow
def test_a_flow_of_profiles(tmp_path):
    """The vector form of CellFlux: controls become treated profiles."""
    pytest.importorskip("torch")
    adata = profiles()
    sh.pp.annotate(adata, "Metadata_Perturbation", control="DMSO", context_key="Metadata_CellLine")
    model = sh.tl.fit(
        adata, "flow", preset="cellflux", config={"n_latent": 8}, max_steps=3, accelerator="cpu"
    )
    sh.tl.predict(adata, model, key_added="flow")
    made = adata.layers["flow"]
    made = made.toarray() if hasattr(made, "toarray") else made
    assert np.isfinite(made[(adata.obs["Metadata_Perturbation"] != "DMSO").to_numpy()]).all()
