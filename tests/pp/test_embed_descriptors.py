"""Descriptors of drugs: against rdkit itself where it is installed, standardised over all molecules that are given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.pp._embed_chemistry import standardised

from .drugs import ASPIRIN_AGAIN, drug_screen, some_of

SMILES = some_of("aspirin", "caffeine", "ethanol", "ruxolitinib")
needs_rdkit = pytest.mark.usefixtures("rdkit")


@pytest.fixture
def adata():
    return drug_screen(SMILES, n_cells=2)


def embedded(adata, **options):
    sh.pp.embed(adata, method="descriptors", **options)
    return adata.uns["perturbation_embeddings"]["descriptors"]


def test_scores_of_what_varies_and_the_mean_for_what_is_not_known():
    values = np.array(
        [
            [1.0, 5.0, np.nan, np.nan, 0.001],
            [3.0, 5.0, 2.0, np.inf, 0.0],
            [5.0, 5.0, 4.0, np.nan, 0.0],
        ]
    )
    np.testing.assert_allclose(standardised(values), [[-(1.5**0.5), 0], [0, -1], [1.5**0.5, 1]])
    assert standardised(values[:0]).shape == (0, 0)


@needs_rdkit
def test_they_are_those_of_rdkit(adata):
    from rdkit.Chem import Descriptors, MolFromSmiles

    table = embedded(adata, source=SMILES)
    rows = {
        name: Descriptors.CalcMolDescriptors(MolFromSmiles(text)) for name, text in SMILES.items()
    }
    raw = pd.DataFrame(rows).T.astype(float)
    raw = raw.loc[:, raw.std(ddof=0) > 0.01]
    np.testing.assert_allclose(
        table, ((raw - raw.mean()) / raw.std(ddof=0)).loc[table.index], rtol=1e-4, atol=1e-5
    )
    assert 80 < table.shape[1] < 220
    row = adata.uns["perturbation_embeddings_info"]["table"].loc["descriptors"]
    assert row[["fitted_on", "transductive", "n_dims"]].to_list() == ["none", False, table.shape[1]]


@needs_rdkit
def test_z_scores_are_over_the_whole_library(adata, caplog):
    few = embedded(adata, targets="smiles")
    library = (
        SMILES
        | {f"alkane{n}": "C" * n for n in range(1, 12)}
        | {"again": "OCC", "odd": "C1CC(", "none": None}
    )
    many = embedded(adata, source=library)
    assert many.shape[0] == 4
    assert not np.allclose(few["0"], many["0"])
    assert (
        "2 further molecules of the source are passed over: its SMILES is missing; its SMILES 'C1CC(' cannot be read"
        in caplog.text
    )
    del library["again"]  # ethanol once more counts once
    pd.testing.assert_frame_equal(embedded(adata, source=pd.Series(library)), many)


@needs_rdkit
def test_a_table_of_names_and_smiles_in_columns(adata, tmp_path):
    frame = pd.DataFrame(
        {"name": [*SMILES, "urea"], "pathway": "x", "SMILES": [*SMILES.values(), "NC(N)=O"]}
    )
    frame.to_csv(tmp_path / "drugs.csv", index=False)
    expected = embedded(adata.copy(), source=SMILES | {"urea": "NC(N)=O"})
    pd.testing.assert_frame_equal(embedded(adata, source=tmp_path / "drugs.csv"), expected)


@needs_rdkit
def test_what_cannot_be_read_is_named(adata):
    with pytest.raises(
        ValueError, match=r"by method='descriptors'; its SMILES 'C1CC\(' cannot be read: 'aspirin'"
    ):
        embedded(adata, source=SMILES | {"aspirin": "C1CC("})
    with pytest.raises(
        ValueError, match="4 of 4 perturbations have no vector .* no SMILES in the source"
    ):
        embedded(adata, source={"water": "O"})
    with pytest.raises(
        ValueError, match="source holds 1 different molecules, among which no descriptor varies"
    ):
        embedded(adata, source={"aspirin": "CCO", "ethanol": "OCC"}, missing="drop")
    with pytest.raises(ValueError, match="no use for n_comps="):
        embedded(adata, source=SMILES, n_comps=3)
    with pytest.raises(ValueError, match="method='descriptors' needs source=: SMILES by name"):
        embedded(adata)
    assert "perturbation_embeddings" not in adata.uns


@needs_rdkit
def test_one_molecule_and_its_mirror_image_are_told_apart(adata):
    mirror = SMILES["ruxolitinib"].replace("@", "@@")
    more = SMILES | {"ASA": ASPIRIN_AGAIN, "s-ruxolitinib": mirror}
    one = pytest.warns(UserWarning, match="^one molecule under several names.*: 'ASA' = 'aspirin'$")
    same = pytest.warns(
        UserWarning, match="^perturbations with the same vector.*: 'ruxolitinib' = 's-ruxolitinib'$"
    )
    with one, same:
        embedded(adata, source=more, names=["ASA", "s-ruxolitinib"])
