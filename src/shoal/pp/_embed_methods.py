"""The methods of pp.embed: what each reads of the screen, and which arguments it takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._keys import SPLIT
from .._logging import logger
from ..core._design import make_plan, strata_keys
from ..core._matrix import Rows, as_rows, choose
from ..core._scale import look
from ..core._screen import Labels
from ._embed_chemistry import from_smiles
from ._embed_expression import coexpression, mean_shifts, scores
from ._embed_network import from_network
from ._embed_source import Source, Vectors, from_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anndata import AnnData

    from .._typing import Bools
    from ..core._screen import Screen


@dataclass(frozen=True)
class Ask:
    """What is to be embedded, and with what.

    Attributes
    ----------
    keys
        What the perturbations are called in the source, each once.
    n_comps
        Dimensions asked for, or the method's default.
    """

    adata: AnnData
    screen: Screen
    labels: Labels
    keys: Sequence[str]
    source: Source | None
    n_comps: int
    walk: int | None
    strata: str | Sequence[str] | None
    layer: str | None


@dataclass(frozen=True)
class Method:
    """One way to vectors.

    Attributes
    ----------
    embed
        The function.
    takes
        Optional arguments of pp.embed that mean something to it.
    n_comps
        Default number of dimensions; 0 where they follow from the input.
    needs_source
        Whether there is nothing to embed without `source`.
    """

    embed: Callable[[Ask], Vectors]
    takes: frozenset[str] = field(default_factory=frozenset)
    n_comps: int = 0
    needs_source: bool = False


def _one_hot(ask: Ask) -> Vectors:
    n = len(ask.keys)
    return Vectors(pd.DataFrame(np.eye(n, dtype=np.float32), index=pd.Index(ask.keys, dtype=object)))


def _table(ask: Ask) -> Vectors:
    return from_table(ask.source, ask.keys)


def _network(ask: Ask) -> Vectors:
    return from_network(ask.source, ask.keys, n_comps=ask.n_comps, walk=ask.walk)


def _fingerprint(ask: Ask) -> Vectors:
    return from_smiles(ask.source, ask.keys, n_bits=ask.n_comps)


def _coexpression(ask: Ask) -> Vectors:
    """Components of the control cells, as the target genes correlate with them."""
    genes = ask.adata.var_names
    if not genes.is_unique:
        msg = "adata.var_names are not unique; call adata.var_names_make_unique() first"
        raise ValueError(msg)
    held = [key for key in ask.keys if key in genes]
    absent = dict.fromkeys(set(ask.keys) - set(held), "not in adata.var_names")
    fit = ask.labels.is_control & ~_held_out(ask.adata)
    columns = list(strata_keys(ask.screen, ask.strata))
    stratum = np.where(fit, 0, -1)
    if columns:
        stratum[fit] = pd.factorize(ask.adata.obs.loc[fit, columns].astype(str).agg(" | ".join, axis=1))[0]
    if fit.sum() - len(np.unique(stratum[fit])) < 3:
        msg = f"{int(fit.sum())} control cells in {len(np.unique(stratum[fit]))} strata are too few for correlations"
        raise ValueError(msg)
    table, varies = coexpression(_log_values(ask), stratum, genes.get_indexer(held), ask.n_comps)
    absent |= {key: "does not vary in control cells" for key, moves in zip(held, varies, strict=True) if not moves}
    values = pd.DataFrame(table[varies], index=pd.Index(held, dtype=object)[varies])
    return Vectors(values, absent, genes, "control", int(fit.sum()))


def _effects(ask: Ask) -> Vectors:
    """PCA of the mean shifts of single perturbations, from training cells where there is a split."""
    split = SPLIT in ask.adata.obs
    train = (ask.adata.obs[SPLIT] == "train").to_numpy() if split else np.ones(ask.adata.n_obs, dtype=bool)
    place = {key: i for i, key in enumerate(ask.keys)}
    parts = [ask.screen.parts(name) for name in ask.labels.names]
    lookup = np.array([place[p[0]] if len(p) == 1 else -1 for p in parts] + [len(ask.keys), -1])
    code = np.where(train, lookup[ask.labels.code], -1)
    cells = np.bincount(code[code >= 0], minlength=len(ask.keys) + 1)[:-1]
    measured = np.flatnonzero(cells)
    absent = _why_no_effect(ask, cells, train)
    if len(measured) == 0:
        return Vectors(pd.DataFrame(), absent)
    short = np.full(len(ask.keys) + 2, -1)
    short[measured], short[len(ask.keys)] = np.arange(len(measured)), len(measured)
    names = pd.Index([ask.keys[i] for i in measured], dtype=object)
    plan = make_plan(ask.adata, Labels(names, short[code]), strata=strata_keys(ask.screen, ask.strata), depth_key=None)
    table = scores(mean_shifts(_log_values(ask), plan), ask.n_comps)
    if table.shape[1] < ask.n_comps:
        logger.info("%d effects span %d components, not n_comps=%d", len(names), table.shape[1], ask.n_comps)
    used = int((plan.group >= 0).sum())
    return Vectors(pd.DataFrame(table, index=names), absent, names, "train" if split else "all", used)


def _why_no_effect(ask: Ask, cells: np.ndarray, train: Bools) -> dict[str, str]:
    """Say of every key without training cells of its own why it has none."""
    names, seen = ask.labels.names, np.unique(ask.labels.code[ask.labels.code >= 0])
    alone, joint = set(), set()
    for name in names[seen[seen < len(names)]]:
        parts = ask.screen.parts(name)
        (alone if len(parts) == 1 else joint).update(parts)
    return {
        key: "not in the training cells"
        if key in alone and not train.all()
        else "measured only in combinations"
        if key in joint
        else "not measured"
        for key, n in zip(ask.keys, cells, strict=True)
        if n == 0
    }


def _held_out(adata: AnnData) -> Bools:
    """(n_obs,) cells that belong to validation or test; nothing is fitted on them."""
    if SPLIT not in adata.obs:
        return np.zeros(adata.n_obs, dtype=bool)
    found: Bools = adata.obs[SPLIT].isin(["val", "test"]).to_numpy()
    return found


def _log_values(ask: Ask) -> Rows:
    """Return the matrix, or refuse values whose means and correlations would be about sequencing depth."""
    source, slot = choose(ask.adata, layer=ask.layer)
    rows = as_rows(source)
    scale = look(rows)
    if scale.n_bad_cells:
        msg = f"{slot} holds NaN or infinite values in {scale.n_bad_cells} of {rows.shape[0]} cells; drop or fill them"
        raise ValueError(msg)
    if scale.kind not in ("log", "signed"):
        msg = (
            f"{slot} holds {scale.words}; normalise with sh.pp.prepare(adata, normalize='log1p') first, or point "
            "layer= to log-normalised values"
        )
        raise ValueError(msg)
    return rows


METHODS: MappingProxyType[str, Method] = MappingProxyType(
    {
        "one_hot": Method(_one_hot),
        "table": Method(_table, frozenset({"source", "targets"}), needs_source=True),
        "network": Method(_network, frozenset({"source", "targets", "n_comps", "walk"}), 64, needs_source=True),
        "coexpression": Method(_coexpression, frozenset({"targets", "n_comps", "strata", "layer"}), 32),
        "effects": Method(_effects, frozenset({"n_comps", "strata", "layer"}), 16),
        "fingerprint": Method(_fingerprint, frozenset({"source", "targets", "n_comps"}), 1024, needs_source=True),
    }
)


def check_arguments(method: str, given: dict[str, Any]) -> None:
    """Raise ``ValueError`` for an argument that `method` does not take, or a source that it needs."""
    spec = METHODS[method]
    idle = [name for name, value in given.items() if value is not None and name not in spec.takes]
    if idle:
        msg = (
            f"method={method!r} has no use for {idle[0]}=; it takes {', '.join(sorted(spec.takes)) or 'none of these'}"
        )
        raise ValueError(msg)
    if spec.needs_source and given["source"] is None:
        what = {
            "table": "vectors by name (DataFrame, mapping, or a csv, tsv, parquet or npz file)",
            "network": "an edge list (DataFrame or file), gene sets, or 'collectri'",
            "fingerprint": "SMILES by name (mapping, Series or file), or targets= that gives them",
        }[method]
        msg = f"method={method!r} needs source=: {what}"
        raise ValueError(msg)
