"""Vectors of drugs from their SMILES: fingerprints and descriptors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._compat import require
from .._logging import logger, progress
from ._embed_source import Source, Vectors, look_up, named_rows, rows_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .._typing import Floats

RADIUS = 2  # bonds around an atom: ECFP4
LEAST_SPREAD = 0.01  # standard deviation, over the molecules at hand, of a descriptor that is kept


@dataclass(frozen=True)
class Molecules:
    """What could be read of a column of SMILES.

    Attributes
    ----------
    by_name
        Name -> molecule, of rdkit's.
    smiles
        Name -> canonical SMILES: two names of one molecule have the same.
    absent
        Name -> why it has no molecule.
    """

    by_name: Mapping[str, Any]
    smiles: Mapping[str, str]
    absent: Mapping[str, str]


def fingerprints(source: Source, keys: Sequence[str], *, n_bits: int) -> Vectors:
    """Look the SMILES of the `keys` up and compute their Morgan fingerprints (bits, radius 2).

    Raises
    ------
    ValueError
        If the source holds several columns and none is called ``smiles``.
    """
    generators = require("rdkit.Chem.rdFingerprintGenerator", extra="chem")
    found, known = look_up(source, keys)
    read = read_smiles(_smiles(found))
    generator = generators.GetMorganGenerator(radius=RADIUS, fpSize=n_bits)
    bits = [generator.GetFingerprintAsNumPy(molecule) for molecule in read.by_name.values()]
    table = np.array(bits, dtype=np.float64).reshape(len(bits), n_bits)
    return _vectors(
        pd.DataFrame(table, index=pd.Index(list(read.by_name), dtype=object)), read, keys, known
    )


def descriptors(source: Source, keys: Sequence[str]) -> Vectors:
    """Return rdkit's descriptors of `keys`, standardised over all molecules of the source.

    Raises
    ------
    ValueError
        If the source holds several columns and none is called ``smiles``, or no descriptor varies.
    """
    everything = named_rows(source, keys)
    others = everything[~everything.index.isin(keys)]
    read = read_smiles(_smiles(rows_of(everything, keys)))
    if not read.smiles:
        return _vectors(pd.DataFrame(), read, keys, everything.index)
    library = read_smiles(_smiles(others).reset_index(drop=True))  # whose names do not matter
    if library.absent:
        some = "; ".join(dict.fromkeys(library.absent.values()))
        logger.warning(
            "%d further molecules of the source are passed over: %.300s", len(library.absent), some
        )
    each = {text: one.by_name[name] for one in (read, library) for name, text in one.smiles.items()}
    table = pd.DataFrame(standardised(_calculated(each)), index=pd.Index(list(each), dtype=object))
    if not table.shape[1]:
        msg = (
            f"source holds {len(each)} different molecules, among which no descriptor varies: give "
            "a library of drugs"
        )
        raise ValueError(msg)
    vectors = table.loc[list(read.smiles.values())].set_axis(
        pd.Index(list(read.smiles), dtype=object)
    )
    return _vectors(vectors, read, keys, everything.index)


def standardised(values: Floats) -> Floats:
    """Return the z-scores of the columns that vary; what is not finite becomes 0, their mean."""
    known = np.where(np.isfinite(values), values, np.nan)[:, np.isfinite(values).any(axis=0)]
    mean, spread = np.nanmean(known, axis=0), np.nanstd(known, axis=0)
    varies = spread > LEAST_SPREAD
    return np.nan_to_num((known[:, varies] - mean[varies]) / spread[varies])


def read_smiles(column: pd.Series) -> Molecules:
    """Read SMILES by name, and say which cannot be read."""
    Chem = require("rdkit.Chem", extra="chem")
    rd_base = require("rdkit.rdBase", extra="chem")
    absent = dict.fromkeys(column.index[column.isna()], "its SMILES is missing")
    found, smiles = {}, {}
    with rd_base.BlockLogs():  # an unreadable SMILES is named in our own error
        for name, text in column.dropna().items():
            molecule = Chem.MolFromSmiles(str(text))
            if molecule is None or molecule.GetNumAtoms() == 0:
                absent[name] = f"its SMILES {str(text)!r} cannot be read"
            else:
                found[name], smiles[name] = molecule, Chem.MolToSmiles(molecule)
    return Molecules(found, smiles, absent)


def _calculated(molecules: Mapping[str, Any]) -> Floats:
    """Return (n, 200 or so) descriptors, NaN where one is not defined."""
    rdkit = require("rdkit.Chem.Descriptors", extra="chem")
    rd_base = require("rdkit.rdBase", extra="chem")
    with rd_base.BlockLogs():
        rows = [
            list(rdkit.CalcMolDescriptors(molecule, missingVal=np.nan, silent=True).values())
            for molecule in progress(molecules.values(), total=len(molecules), desc="descriptors")
        ]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(rdkit.descList))


def _vectors(
    values: pd.DataFrame, read: Molecules, keys: Sequence[str], known: pd.Index
) -> Vectors:
    unlisted = dict.fromkeys(set(keys) - set(known), "no SMILES in the source")
    return Vectors(values, {**unlisted, **read.absent}, known, smiles=read.smiles)


def _smiles(found: pd.DataFrame) -> pd.Series:
    """Return the column of SMILES: the only one, or the one of that name."""
    named = [c for c in found.columns if str(c).lower() == "smiles"]
    columns = named if len(found.columns) > 1 else list(found.columns)
    if len(columns) != 1:
        msg = (
            f"source: which of its columns {list(map(str, found.columns))} holds the SMILES? Call "
            "it 'smiles'"
        )
        raise ValueError(msg)
    return found[columns[0]]
