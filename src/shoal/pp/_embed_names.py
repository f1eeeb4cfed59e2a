"""Names of genes in a source, where they are others than those of the screen."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import pandas as pd

from .._logging import logger
from .._validate import some
from ..core._gene_names import SYMBOL_COLUMNS, are_ensembl, ids_and_symbols, without_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from anndata import AnnData

BY_SOURCE = "another column of the source"
BY_VERSION = "identifiers without their version"
BY_FORMER = "former symbols"
FORMER = MappingProxyType(  # symbols that the HGNC has replaced, as patterns
    {
        r"MARCH(\d+)": r"MARCHF\1",
        r"MARC([12])": r"MTARC\1",
        r"SEPT(\d+)": r"SEPTIN\1",
        r"SEP15": "SELENOF",
        r"DEC1": "DELEC1",
        r"KIAA1804": "MAP3K21",
        r"C3orf72": "FOXL2NB",
        r"C19orf26": "CBARP",
        r"CTGF": "CCN2",
        r"CYR61": "CCN1",
        r"FAM46A": "TENT5A",
    }
)
PRESENT = MappingProxyType(
    {
        r"MARCHF(\d+)": r"MARCH\1",
        r"MTARC([12])": r"MARC\1",
        r"SEPTIN(\d+)": r"SEPT\1",
        **{new: old for old, new in FORMER.items() if "(" not in old},
    }
)


@dataclass(frozen=True)
class Matched:
    """Which row of a source each key means.

    Attributes
    ----------
    called
        Key -> its name in the source, for keys that are in it.
    absent
        Key -> why it is not.
    how
        Key -> by what it was found, for keys that have another name in the source.
    """

    called: Mapping[str, str]
    absent: Mapping[str, str]
    how: Mapping[str, str] = field(default_factory=dict)

    def tell(self, keys: Iterable[str]) -> None:
        """Say which of some keys have other names in the source, and by what they were found.

        Replaced symbols are a warning, because a name may have been given to another gene since.
        """
        by: dict[str, list[str]] = {}
        for key in dict.fromkeys(keys):
            if key in self.how:
                pair = f"{key!r} is {self.called[key]!r}"
                by.setdefault(self.how[key], []).append(pair)
        if by:
            told = "; ".join(f"by {how}: {_pairs(pairs)}" for how, pairs in by.items())
            level = logging.WARNING if BY_FORMER in by else logging.INFO
            logger.log(level, "names that are others in the source, %s", told)


@dataclass(frozen=True)
class OtherNames:
    """Other names of the genes of a screen.

    Attributes
    ----------
    of
        Name -> other names of the same gene: its symbol, its Ensembl identifier.
    where
        Slot that tells them, for messages.
    """

    of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    where: str = ""

    @classmethod
    def in_screen(cls, adata: AnnData) -> OtherNames:
        """Return what ``adata.var`` says of its genes."""
        columns = ids_and_symbols(adata)
        of: dict[str, tuple[str, ...]] = {}
        for names in zip(*columns.values(), strict=True):
            for name in names:
                if name:
                    others = (other for other in names if other and other != name)
                    of[name] = tuple(dict.fromkeys([*of.get(name, ()), *others]))
        return cls(of, " and ".join(columns))

    def match(
        self, keys: Sequence[str], known: Iterable[str], second: Mapping[str, Sequence[str]] = {}
    ) -> Matched:
        """Return which name of a source each key has.

        A key is looked for

        1. as it is;
        2. without the version of an Ensembl identifier;
        3. by its other names in the screen;
        4. by `second`, the other names that the source gives;
        5. by symbols that the HGNC has replaced since 2019, in both directions.

        The first way that finds a name counts. If it finds several, the key is absent.

        Parameters
        ----------
        keys
            Names that are looked for.
        known
            Names of the source.
        second
            Other names of the source -> the names that they stand for.
        """
        held = set(known)
        bare: dict[str, list[str]] = {}
        for name in held:
            bare.setdefault(without_version(name), []).append(name)
        called, absent, how = {}, {}, {}
        for key in keys:
            ways = [
                ("", [key]),
                (BY_VERSION, bare.get(without_version(key), [])),
                (self.where, [n for o in self.of.get(key, ()) for n in bare.get(o, [])]),
                (BY_SOURCE, second.get(without_version(key), [])),
                (BY_FORMER, [n for o in (key, *self.of.get(key, ())) for n in _replaced(o)]),
            ]
            for way, names in ways:
                found = sorted(held.intersection(names))
                if len(found) == 1:
                    called[key] = found[0]
                    if way:
                        how[key] = way
                    break
                if found:
                    absent[key] = f"several of the source by {way}, {some(found, 4)}"
                    break
            else:
                absent[key] = "not in the source"
        return Matched(called, absent, how)


def second_names(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """Split columns of other names off a table by name: Ensembl identifiers and symbols.

    Returns
    -------
    frame
        The table without them.
    second
        Other name -> names of its rows.
    """
    second: dict[str, list[str]] = {}
    columns = []
    for place, column in enumerate(frame.columns):
        values = frame.iloc[:, place]
        if pd.api.types.is_numeric_dtype(values):
            continue
        texts = values.dropna().astype(str)
        if str(column).lower() in SYMBOL_COLUMNS or are_ensembl(texts):
            columns.append(place)
            for name, other in texts.items():
                second.setdefault(without_version(other), []).append(str(name))
    kept = [place for place in range(frame.shape[1]) if place not in columns]
    return frame.iloc[:, kept], second


def in_names_of(edges: pd.DataFrame, keys: Sequence[str], others: OtherNames) -> pd.DataFrame:
    """Return edges whose ends have the names of the keys, where they are other names of them.

    Parameters
    ----------
    edges
        Edges with the columns ``source`` and ``target``.
    keys
        Names that should be used.
    others
        Other names of the genes of the screen.
    """
    ends = pd.unique(edges[["source", "target"]].to_numpy().ravel())
    matched = others.match(keys, map(str, ends))
    own = set(keys)
    mine = {matched.called[key]: key for key in matched.how if matched.called[key] not in own}
    matched.tell(mine.values())
    return edges.assign(
        source=edges["source"].map(lambda name: mine.get(name, name)),
        target=edges["target"].map(lambda name: mine.get(name, name)),
    )


def other_kind(keys: Sequence[str], known: Iterable[str]) -> str:
    """Say that one side has Ensembl identifiers and the other symbols, and what to do; else ""."""
    names = [str(name) for name in known]
    ids, wanted = are_ensembl(names), are_ensembl(keys)
    if ids == wanted or not names:
        return ""
    kinds = ("symbols", "Ensembl identifiers")
    return (
        f"the source has {kinds[ids]} ({some(names[:3])}) and the screen {kinds[wanted]}: give "
        f"adata.var a column of {kinds[ids]}, or the source a second column of {kinds[wanted]}"
    )


def _pairs(pairs: Sequence[str], most: int = 6) -> str:
    rest = len(pairs) - most
    return ", ".join(pairs[:most]) + (f" and {rest} more" if rest > 0 else "")


def _replaced(name: str) -> list[str]:
    """Return the symbols that a symbol has replaced, or was replaced by."""
    return [
        re.sub(f"^{old}$", new, name)
        for table in (FORMER, PRESENT)
        for old, new in table.items()
        if re.fullmatch(old, name)
    ]
