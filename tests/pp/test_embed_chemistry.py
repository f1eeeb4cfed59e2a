"""Fingerprints of drugs: against rdkit itself where it is installed."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest

import shoal as sh

from .drugs import ASPIRIN_AGAIN, drug_screen, some_of

SMILES = some_of("aspirin", "salicylic acid", "caffeine")


@pytest.fixture
def adata():
    return drug_screen(SMILES, n_cells=3)


def fingerprints(adata, **options):
    sh.pp.embed(adata, method="fingerprint", **options)
    return adata.uns["perturbation_embeddings"]["fingerprint"]


@pytest.mark.usefixtures("rdkit")
def test_the_bits_are_those_of_rdkit(adata):
    from rdkit.Chem import MolFromSmiles
    from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator

    table = fingerprints(adata, source=SMILES)
    generator = GetMorganGenerator(radius=2, fpSize=1024)
    for name, text in SMILES.items():
        on = set(generator.GetFingerprint(MolFromSmiles(text)).GetOnBits())
        assert set(np.flatnonzero(table.loc[name])) == on
    assert set(np.unique(table)) == {0.0, 1.0}
    shared = table @ table.T
    assert shared.loc["aspirin", "salicylic acid"] > 2 * shared.loc["aspirin", "caffeine"]


@pytest.mark.usefixtures("rdkit")
@pytest.mark.parametrize("how", ["series", "frame", "csv", "targets", "column", "alias"])
def test_smiles_come_in_many_ways(adata, how, tmp_path):
    frame = pd.DataFrame({"name": list(SMILES), "pathway": "x", "SMILES": list(SMILES.values())})
    frame.to_csv(tmp_path / "drugs.csv", index=False)
    options = {
        "series": {"source": pd.Series(SMILES)},
        "frame": {"source": frame},
        "csv": {"source": tmp_path / "drugs.csv"},
        "targets": {"targets": SMILES},
        "column": {"targets": "smiles"},
        "alias": {
            "source": SMILES | {"ASA": SMILES["aspirin"], "aspirin": "C"},
            "targets": {"aspirin": "ASA"},
        },
    }[how]
    expected = fingerprints(adata.copy(), source=SMILES, n_comps=128)
    found = fingerprints(adata, n_comps=128, **options)
    pd.testing.assert_frame_equal(found, expected)


@pytest.mark.usefixtures("rdkit")
def test_what_cannot_be_read_is_named(adata, capfd):
    wrong = SMILES | {"aspirin": "C1CC(", "caffeine": ""}
    with pytest.raises(
        ValueError, match="3 of 4 perturbations have no vector by method='fingerprint'"
    ) as err:
        fingerprints(adata, source=wrong | {"water": None}, names="water", n_comps=64)
    assert "its SMILES 'C1CC(' cannot be read: 'aspirin'" in str(err.value)
    assert "its SMILES '' cannot be read: 'caffeine'" in str(err.value)
    assert "its SMILES is missing: 'water'" in str(err.value)
    with pytest.raises(ValueError, match="no SMILES in the source: 'aspirin', 'caffeine'"):
        fingerprints(adata, targets={"salicylic acid": SMILES["salicylic acid"]})
    with pytest.raises(ValueError, match=r"which of its columns \['a', 'b'\] holds the SMILES\?"):
        fingerprints(adata, source=pd.DataFrame({"a": SMILES, "b": SMILES}))
    assert capfd.readouterr().err == ""  # rdkit's own messages are held back


@pytest.mark.usefixtures("rdkit")
def test_one_molecule_under_two_names_is_warned_of(adata):
    other_spelling = SMILES | {"ASA": ASPIRIN_AGAIN}
    with pytest.warns(UserWarning, match="'ASA' = 'aspirin'"):
        fingerprints(adata, source=other_spelling, names="ASA")


def test_without_rdkit_the_message_names_the_extra(adata, monkeypatch):
    monkeypatch.setitem(sys.modules, "rdkit", None)
    monkeypatch.setitem(sys.modules, "rdkit.Chem", None)
    with pytest.raises(ImportError, match=r"pip install 'shoal\[chem\]'"):
        fingerprints(adata, source=SMILES)
    assert "perturbation_embeddings" not in adata.uns
