"""Names of genes: what they are called in the data, and by which column of symbols."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._logging import logger
from .._validate import key_in

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from anndata import AnnData

    from ._screen import Screen

ENSEMBL = r"ENS[A-Z]*G\d{6,}"  # the identifier of a gene, with or without a version
SYMBOL_COLUMNS = (  # names that files give to the column of symbols, in the order of trial
    "gene_symbol",
    "gene_symbols",
    "gene_name",
    "gene_names",
    "symbol",
    "symbols",
    "feature_name",
    "hgnc_symbol",
    "mgi_symbol",
    "gene_short_name",
)


BETWEEN_WORDS = re.compile(r"[\s_:;|,/]+")  # of a label such as "STAT1_KO"
OF_GUIDE = re.compile(r"^sg(?=[A-Z])")  # what a label of a guide may begin with


def gene_within(label: str, known: Container[object]) -> str | None:
    """Return the gene that is a word of a label, as ``"ATF2"`` is of ``"sgATF2_KO"``, if one is."""
    words = {OF_GUIDE.sub("", word) for word in BETWEEN_WORDS.split(label)}
    found = [word for word in sorted(words) if word in known]
    return found[0] if len(found) == 1 else None


@dataclass(frozen=True)
class GeneNames:
    """What the genes of an AnnData are called.

    Attributes
    ----------
    names
        (n_vars,) ``adata.var_names``.
    symbols
        (n_vars,) symbols; the name itself where a gene has none.
    key
        Column of ``adata.var`` with the symbols; ``None`` if the names are the symbols.
    """

    names: tuple[str, ...]
    symbols: tuple[str, ...]
    key: str | None = None

    @cached_property
    def _called(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the genes that go by each name or symbol."""
        found: dict[str, tuple[str, ...]] = {}
        for name, symbol in zip(self.names, self.symbols, strict=True):
            found[symbol] = (*found.get(symbol, ()), name)
        return found | {name: (name,) for name in self.names}

    def __contains__(self, called: object) -> bool:
        """Whether a gene goes by this name or symbol."""
        return called in self._called

    def of(self, called: Iterable[str]) -> list[str]:
        """Return the ``var_names`` of genes that go by these names or symbols, each once."""
        every = (name for one in called for name in self._called.get(one, ()))
        return list(dict.fromkeys(every))

    @property
    def where(self) -> str:
        """The slot of the symbols, for messages."""
        return "adata.var_names" if self.key is None else f"adata.var[{self.key!r}]"

    @property
    def words(self) -> str:
        """The slot of the symbols, with the first few."""
        return f"{self.where} ({few(self.symbols, 4)})"


def gene_names(adata: AnnData, screen: Screen) -> GeneNames:
    """Return the names of the genes, by which the targets of perturbations are found.

    Symbols are taken from the column that `pp.annotate` recorded as ``gene_key``. Where none is
    recorded they are the names themselves, unless

    - ``adata.var`` has a column of symbols, such as ``"gene_symbol"``, and
    - the names are Ensembl identifiers, or more perturbations are named after a gene with the
      symbols than without.

    Raises
    ------
    KeyError
        If the recorded column does not exist.
    """
    names = tuple(map(str, adata.var_names))
    if screen.gene_key is not None:
        key_in(screen.gene_key, adata.var.columns, where="adata.var", hint="(given as gene_key)")
        return GeneNames(names, _symbols(adata, screen.gene_key), screen.gene_key)
    column = adata.obs.get(screen.perturbation_key)
    written = [] if column is None else map(str, pd.unique(column.dropna()))
    targets = {part for label in written for part in screen.parts(screen.canonical(label))}
    found = [GeneNames(names, _symbols(adata, key), key) for key in _symbol_columns(adata)]
    plain = GeneNames(names, names)
    best = max([plain, *found], key=lambda genes: sum(one in genes for one in targets))
    if best is plain and found and are_ensembl(names):
        return found[0]
    return best


def tell_symbols(genes: GeneNames) -> None:
    """Say which column symbols are taken from, where it is not ``var_names``."""
    if genes.key is not None:
        logger.info("symbols of genes are taken from adata.var[%r]", genes.key)


def are_ensembl(names: Iterable[str]) -> bool:
    """Return whether more than half of some names are Ensembl identifiers of genes."""
    matched = pd.Series(list(names), dtype=object).str.match(ENSEMBL)
    return bool(len(matched) and matched.mean() > 0.5)


def without_version(name: str) -> str:
    """Return an Ensembl identifier without its version; any other name as it is."""
    return name.partition(".")[0] if re.match(ENSEMBL, name) else name


def ids_and_symbols(adata: AnnData) -> dict[str, list[str]]:
    """Return the names of genes in all slots that hold Ensembl identifiers or symbols.

    Returns
    -------
    Slot -> (n_vars,) names, where identifiers have no version and a missing name is "". It is empty
    if there is but one such slot.
    """
    symbols = _symbol_columns(adata)
    found = {"adata.var_names": [without_version(str(name)) for name in adata.var_names]}
    for key in adata.var.columns:
        column = adata.var[key]
        if pd.api.types.is_numeric_dtype(column):
            continue
        texts = column.astype(object).where(column.notna(), "").astype(str)
        if key in symbols or are_ensembl(texts[texts != ""]):
            found[f"adata.var[{key!r}]"] = [without_version(text.strip()) for text in texts]
    return found if len(found) > 1 else {}


def _symbol_columns(adata: AnnData) -> list[str]:
    """Return the columns of ``adata.var`` that are named as columns of symbols are."""
    by_name = {str(key).lower(): key for key in adata.var.columns}
    return [by_name[name] for name in SYMBOL_COLUMNS if name in by_name]


def _symbols(adata: AnnData, key: str) -> tuple[str, ...]:
    """Return a column of symbols as text, with the gene's own name where it is missing."""
    column = adata.var[key].astype(object)
    text = column.where(column.notna(), "").astype(str).str.strip().to_numpy(dtype=object)
    return tuple(np.where(text == "", adata.var_names.astype(str).to_numpy(dtype=object), text))


def few(names: Sequence[str], most: int = 6) -> str:
    """Return the first of some names for a message; one that holds a comma is quoted."""
    shown = (repr(name) if "," in name else name for name in names[:most])
    return ", ".join(shown) + (", ..." if len(names) > most else "")
