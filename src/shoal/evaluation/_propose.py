"""Rank candidates: the models that are asked, what responds, and the table that comes out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._keys import COHERENCE, SPLIT
from .._logging import logger
from .._responses import responses
from .._validate import some
from ..core._population import population
from ..core._results import read_result
from ..core._scale_check import EXPRESSION, require
from ..core._screen import perturbed_labels, resolve
from ..core._shallow import shallow
from ..models.base._embedding import ONE_HOT, vectors_of
from ..models.base._fitting import fit_model
from ..models.base._requests import requested_dose
from ._candidates import IN_CONTEXT, how_to_embed, pool_of
from ._committee import Committee
from ._strategies import STRATEGIES, Question

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from ..core._population import Population

ALPHA = 0.05  # q-value below which a perturbation responds


def proposal(
    adata: AnnData,
    model: Any,
    *,
    n: int,
    candidates: Any,
    strategy: str,
    by: str,
    embedding: str | pd.DataFrame | None,
    dose: float | None,
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the table and the parameters that :func:`shoal.tl.propose` writes."""
    seed = int(rng.integers(2**31))
    asks = strategy == "disagreement"
    committee = None if model is None or not asks else Committee.of(model)
    models = [] if committee is None else [committee.ensemble, *committee.models.values()]
    models = [one for one in models if one is not None]
    cells = models[0]._population(adata) if models else _cells(adata)
    perturbed_labels(adata, cells.screen)
    vectors = _vectors(adata, embedding, models)
    pool = pool_of(cells, candidates, measured=cells.perturbed, by=by, vectors=vectors)
    number = requested_dose(dose, cells) if asks or dose is not None else float("nan")
    if asks and committee is None:
        if vectors is None and by != IN_CONTEXT:
            names = some([name for name, _ in pool.candidates])
            msg = (
                f"nobody has run {names}, and without vectors "
                f"no model can say anything of them: {how_to_embed(pool.candidates)}"
            )
            raise ValueError(msg)
        committee = _own_committee(adata, cells, vectors, by=by, seed=seed)
    question = Question(
        cells=cells,
        pool=pool.ordered(rng.permutation(len(pool.candidates))),  # so that ties are random
        by=by,
        committee=committee,
        responds=responding(adata) if strategy == "hit" else None,
        dose=number,
        seed=seed,
    )
    order, score = STRATEGIES[strategy](question, n)
    chosen = [question.pool.candidates[i] for i in order]
    table = pd.DataFrame(
        {
            "rank": np.arange(1, len(chosen) + 1),
            "perturbation": pd.Categorical([name for name, _ in chosen]),
            **({"context": pd.Categorical([c for _, c in chosen])} if by == IN_CONTEXT else {}),
            "score": score,
            "total": np.cumsum(score),
        }
    )
    params = {
        **cells.screen.params(),
        "strategy": strategy,
        "by": by,
        "n_candidates": len(pool.candidates),
        "models": [] if committee is None else list(committee.models),
        "skipped": list(pool.skipped),
    }
    return table, params


def responding(adata: AnnData) -> Mapping[str, bool]:
    """Return which perturbations respond, as ``uns["coherence"]`` says.

    Raises
    ------
    KeyError
        If it is not there.
    """
    entry = read_result(adata, COHERENCE, kind="coherence", written_by="sh.tl.coherence(adata)")
    table = entry["table"]
    hit = responses(table, entry["params"], ALPHA).all
    told = table["qvalue"].notna().to_numpy()
    return {
        str(name): bool(own) for name, own, can in zip(table.index, hit, told, strict=True) if can
    }


def _cells(adata: AnnData) -> Population:
    """Return the cells of a screen, all of them on the side of training."""
    cells = population(adata, resolve(adata))
    return replace(cells, split=np.zeros(adata.n_obs, dtype=np.int64))


def _vectors(
    adata: AnnData, embedding: str | pd.DataFrame | None, models: Sequence[Any]
) -> pd.DataFrame | None:
    """Return the vectors that are named, or those that the first model with some has."""
    if embedding is not None:
        return vectors_of(adata, embedding)[1]
    for known in (model.vocabulary for model in models):
        if known.embedding != ONE_HOT:
            return pd.DataFrame(known.vectors, index=list(known.perturbations))
    return None


def _own_committee(
    adata: AnnData, cells: Population, vectors: pd.DataFrame | None, *, by: str, seed: int
) -> Committee:
    """Return the members of an ensemble that is trained on all that was measured.

    Where it gives weight to one member, or to none, its members count equally, and it is said.
    """
    require(cells.scale, slot="X", what="a model", accept=EXPRESSION, cells=adata.obs_names)
    work = shallow(adata)
    if SPLIT in work.obs:
        del work.obs[SPLIT]
    model = fit_model(work, "auto", embedding=vectors, config={"by": by}, rng=seed)
    kind = "measured in other contexts" if by == IN_CONTEXT else "not measured"
    own = model.weights[(model.weights["kind"] == kind) & (model.weights["weight"] > 0)]
    if own["member"].isin(list(model.members)).sum() > 1:
        return Committee.of(model)
    logger.warning(
        "auto gives weight to fewer than two members for perturbations %s: nothing that it tried "
        "was found to tell them apart, so a choice by disagreement may be no better than a random "
        "one. All members count equally instead",
        kind,
    )
    every = {
        member.name: model.members.get(member.name)
        or member.fit(cells, embedding=vectors, seed=seed)
        for member in model._candidates
        if member.name not in model.refused
    }
    return Committee(every)
