"""Fingerprints of drugs from their SMILES."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._compat import require
from ._embed_source import Source, Vectors, look_up

if TYPE_CHECKING:
    from collections.abc import Sequence

RADIUS = 2  # bonds around an atom: ECFP4


def from_smiles(source: Source, keys: Sequence[str], *, n_bits: int) -> Vectors:
    """Look the SMILES of the `keys` up and compute their Morgan fingerprints (bits, radius 2).

    Raises
    ------
    ValueError
        If the source holds several columns and none is called ``smiles``.
    """
    Chem = require("rdkit.Chem", extra="chem")
    generators = require("rdkit.Chem.rdFingerprintGenerator", extra="chem")
    rd_base = require("rdkit.rdBase", extra="chem")

    found, known = look_up(source, keys)
    smiles = _smiles(found)
    generator = generators.GetMorganGenerator(radius=RADIUS, fpSize=n_bits)
    absent = dict.fromkeys(set(keys) - set(smiles.index), "no SMILES in the source")
    absent |= dict.fromkeys(smiles.index[smiles.isna()], "its SMILES is missing")
    bits = {}
    with rd_base.BlockLogs():  # an unreadable SMILES is named in our own error
        for name, text in smiles.dropna().items():
            molecule = Chem.MolFromSmiles(str(text))
            if molecule is None or molecule.GetNumAtoms() == 0:
                absent[name] = f"its SMILES {str(text)!r} cannot be read"
            else:
                bits[name] = generator.GetFingerprintAsNumPy(molecule)
    table = np.array(list(bits.values()), dtype=np.float64).reshape(len(bits), n_bits)
    return Vectors(pd.DataFrame(table, index=pd.Index(list(bits), dtype=object)), absent, known)


def _smiles(found: pd.DataFrame) -> pd.Series:
    """Return the column of SMILES: the only one, or the one of that name."""
    named = [c for c in found.columns if str(c).lower() == "smiles"]
    columns = named if len(found.columns) > 1 else list(found.columns)
    if len(columns) != 1:
        msg = f"source: which of its columns {list(map(str, found.columns))} holds the SMILES? Call it 'smiles'"
        raise ValueError(msg)
    return found[columns[0]]
