"""A test of whether vectors of perturbations say which responses are alike."""

from __future__ import annotations

import logging
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from .._docs import shared
from .._keys import EMBEDDING_CHECK, EMBEDDINGS, EMBEDDINGS_INFO, SPLIT
from .._logging import logger
from .._random import as_generator
from .._threads import one_thread
from .._validate import between, get_adata, key_in, listed, one_of, some, whole
from ..core._choose import choose
from ..core._claims import claim_result
from ..core._gene_names import gene_names
from ..core._joined_columns import sources_of
from ..core._matrix import as_rows
from ..core._results import write_table
from ..core._scale import look
from ..core._scale_check import ANY, EXPRESSION, require
from ..core._screen import labels, resolve
from ..metrics._kernel_ridge import gaussian_width, scale_of
from ..metrics._vector_information import vector_information
from ._embed_cells import measured
from ._embed_expression import mean_shifts
from ._embed_request import EmbeddingRequest
from ._split_fits import known

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData

    from .._random import RNGLike
    from .._typing import Floats
    from ..core._screen import Screen
    from ..metrics._vector_information import Information

LEAST = 5  # perturbations: of fewer there are too few orders for a test
MOST = 1000  # perturbations that are all compared with one another
SCHEMA = "embedding_check/1"


@one_thread()
@shared()
def embed_check(
    data: AnnData | MuData,
    perturbation_key: str | None = None,
    *,
    control: str | Sequence[str] | None = None,
    embedding: str | Sequence[str] | None = None,
    kernel: Literal["rbf", "linear"] = "rbf",
    n_perms: int = 999,
    alpha: float = 0.05,
    exclude: Literal["targets"] | None = "targets",
    strata: str | Sequence[str] | None = "auto",
    layer: str | None = None,
    use_rep: str | None = None,
    rng: RNGLike = 0,
    key_added: str | None = None,
    overwrite: bool = False,
    mod: str | None = None,
) -> None:
    """Test whether vectors of perturbations say which responses are alike.

    The mean shift of each single perturbation is predicted from those of all others, by kernel
    ridge regression on the vectors. The error is compared with that of vectors that were dealt anew
    among the perturbations. A network that is told vectors without information cannot predict
    unseen perturbations better than the mean response.

    - Training cells are read, where there is a split, and all cells otherwise.
    - Ridge and weights of joined sources have the smallest error, in every permutation anew. So the
      choice of them does not make the test pass.
    - A large p-value says that these perturbations do not show any information. There may be some
      that more perturbations or more cells would show.

    Parameters
    ----------
    data
        Screen, one row per cell.
    perturbation_key, control
        {design}
    embedding
        Name(s) of embeddings that :func:`shoal.pp.embed` wrote. ``None`` takes all but one-hot
        vectors and those that were fitted on responses.
    kernel
        ``"rbf"``, a Gaussian as wide as the median distance between perturbations, or
        ``"linear"``.
    n_perms
        Number B of permutations. The p-value is (1 + b) / (1 + B), where b of them have an error at
        most as large.
    alpha
        Level up to which a p-value counts as information.
    exclude
        ``"targets"`` leaves out the genes that perturbations are named after: a gene that is
        knocked out is low for that reason alone. ``None`` keeps all genes.
    strata
        {strata}
    layer
        Layer with log-normalised values, to read instead of ``X``.
    use_rep
        Slot of ``obsm``, instead of genes.
    rng
        {rng}
    key_added
        Slot of ``uns``. ``None`` is ``"embedding_check"``.
    overwrite
        {overwrite}
    mod
        {mod}

    Returns
    -------
    Nothing. Writes ``uns[key_added]`` with ``table``, ``params``, ``schema`` and ``version``. Logs
    a sentence for each embedding, as a warning where there is no information. The table has one row
    per embedding, with

    - ``n_perturbations`` and ``n_dims`` (int64);
    - ``error`` (float64): mean squared leave-one-out error, as a share of that of the mean response
      of the others. Below 1 the vectors help;
    - ``error_permuted`` (float64): its mean over permutations;
    - ``pvalue`` (float64) and ``informative`` (bool), whether it is at most `alpha`;
    - ``weights`` (text): the shares of joined sources at the smallest error;
    - ``says`` (text): the sentence.

    Raises
    ------
    KeyError
        If there is no such embedding, column, layer or representation.
    ValueError
        If there is no embedding to check, one was fitted on the responses themselves, fewer than
        five single perturbations have both a vector and cells, `n_perms` is too small for `alpha`,
        or values are not log-normalised.

    References
    ----------
    phipson2010permutation

    Examples
    --------
    >>> import numpy as np
    >>> import shoal as sh
    >>> adata = sh.ds.simulate(n_perturbations=12, rng=0)
    >>> sh.pp.annotate(adata, "perturbation", control="control")
    >>> sh.pp.prepare(adata, normalize="log1p")
    >>> draws = np.random.default_rng(0)
    >>> vectors = {name: draws.normal(size=3) for name in set(adata.obs["perturbation"])}
    >>> sh.pp.embed(adata, method="table", source=vectors, key_added="noise")
    >>> sh.pp.embed_check(adata, n_perms=99)
    >>> list(adata.uns["embedding_check"]["table"].index)
    ['noise']
    """
    adata = get_adata(data, mod)
    one_of(kernel, ("rbf", "linear"), name="kernel")
    one_of(exclude, ("targets", None), name="exclude")
    between(alpha, 0, 1, name="alpha")
    n_perms = whole(n_perms, name="n_perms")
    if 1 / (1 + n_perms) > alpha:
        least = int(np.ceil(1 / alpha)) - 1
        msg = f"n_perms={n_perms} cannot reach alpha={alpha}; take {least} or more"
        raise ValueError(msg)
    generator = as_generator(rng)
    screen = resolve(adata, perturbation_key, control=control)
    key = EMBEDDING_CHECK if key_added is None else key_added
    key = claim_result(adata, key, schema=SCHEMA, screen=screen, overwrite=overwrite)
    tables = _chosen(adata, embedding)
    shifts, n_cells = _shifts(adata, screen, tables, strata, layer, use_rep, exclude)
    several = {name: table.loc[_both(table, shifts)] for name, table in tables.items()}
    few = {name: len(table) for name, table in several.items() if len(table) < LEAST}
    if few and (embedding is not None or len(few) == len(several)):
        name, n = next(iter(few.items()))
        msg = (
            f"{n} single perturbations have both a vector in {name!r} and "
            f"{'training ' if SPLIT in adata.obs else ''}cells, and a test takes at least {LEAST}"
        )
        raise ValueError(msg)
    rows = {}
    for name, one in zip(several, generator.spawn(len(several)), strict=True):
        if name in few:
            logger.info("%r is not checked: it has vectors of %d perturbations", name, few[name])
            continue
        rows[name] = _checked(name, several[name], shifts, kernel, n_perms, alpha, one)
        level = logging.INFO if rows[name]["informative"] else logging.WARNING
        logger.log(level, "%s", rows[name]["says"])
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("embedding")
    params = {
        **screen.params(),
        "kernel": kernel,
        "n_perms": n_perms,
        "alpha": float(alpha),
        "exclude": exclude,
        "strata": strata,
        "layer": layer,
        "use_rep": use_rep,
        "fitted_on": "train" if SPLIT in adata.obs else "all",
        "n_cells": n_cells,
        "n_features": shifts.shape[1],
    }
    write_table(adata, key, table, schema=SCHEMA, params=params)


def _chosen(adata: AnnData, embedding: str | Sequence[str] | None) -> dict[str, pd.DataFrame]:
    """Return the embeddings to check.

    Raises
    ------
    KeyError
        If there is none of a name.
    ValueError
        If there is none at all, or one was fitted on responses.
    """
    tables = known(adata, EMBEDDINGS).items()
    held = {name: table for name, table in tables if isinstance(table, pd.DataFrame)}
    about = known(adata, EMBEDDINGS_INFO).get("table")
    about = about if isinstance(about, pd.DataFrame) else pd.DataFrame()
    fits = about["fitted_on"].to_dict() if "fitted_on" in about else {}
    circular = {name for name in held if fits.get(name) in ("train", "all")}
    if embedding is not None:
        names = list(dict.fromkeys(listed(embedding, name="embedding")))
        for name in names:
            hint = "sh.pp.embed(adata, ...) writes them."
            key_in(name, list(held), where=f"adata.uns[{EMBEDDINGS!r}]", hint=hint)
            if name in circular:
                msg = (
                    f"the embedding {name!r} was made from the responses of this screen, so a test "
                    "of whether it says which of them are alike would always pass"
                )
                raise ValueError(msg)
    else:
        blank = {n for n in held if n in about.index and about.loc[n, "method"] == "one_hot"}
        names = [name for name in held if name not in circular | blank]
    if not names:
        msg = (
            f"there is no embedding to check in adata.uns[{EMBEDDINGS!r}]: call "
            "sh.pp.embed(adata, method='annotations'), or with a source= of your own"
        )
        raise ValueError(msg)
    chosen = {name: held[name].set_axis(held[name].index.astype(str), axis=0) for name in names}
    for name, table in chosen.items():
        if table.index.has_duplicates or not np.isfinite(table.to_numpy(dtype=np.float64)).all():
            msg = f"the embedding {name!r} holds a name twice, or values that are not finite"
            raise ValueError(msg)
    return chosen


def _shifts(
    adata: AnnData,
    screen: Screen,
    tables: dict[str, pd.DataFrame],
    strata: str | Sequence[str] | None,
    layer: str | None,
    use_rep: str | None,
    exclude: str | None,
) -> tuple[pd.DataFrame, int]:
    """Return the mean shifts of single perturbations with a vector, and how many cells they had."""
    request = EmbeddingRequest(
        adata=adata,
        screen=screen,
        labels=labels(adata, screen),
        keys=sorted({name for table in tables.values() for name in table.index}),
        source=None,
        n_comps=0,
        walk=None,
        strata=strata,
        layer=layer,
    )
    names, plan, _ = measured(request, least=1)
    if plan is None:
        return pd.DataFrame(), 0
    matrix, slot = choose(adata, layer=layer, use_rep=use_rep)
    rows = as_rows(matrix, slot=slot)
    in_genes = not slot.startswith("obsm/")
    accept = EXPRESSION if in_genes else ANY
    require(look(rows), slot=slot, what="a check of vectors", accept=accept, cells=adata.obs_names)
    shifts = mean_shifts(rows, plan)
    if in_genes and exclude is not None:
        parts = {part for name in request.labels.names for part in screen.parts(name)}
        kept = ~adata.var_names.isin(gene_names(adata, screen).of(sorted(parts)))
        shifts = shifts[:, kept]
    if not shifts.shape[1]:
        msg = "all genes are targets of perturbations; keep them with exclude=None"
        raise ValueError(msg)
    return pd.DataFrame(shifts, index=names), int((plan.group >= 0).sum())


def _both(table: pd.DataFrame, shifts: pd.DataFrame) -> list[str]:
    """Return the perturbations with a vector and a shift; 1,000 evenly spaced ones of more."""
    names = [name for name in shifts.index if name in table.index]
    if len(names) <= MOST:
        return names
    logger.info("%d of %d perturbations are compared, such as %s", MOST, len(names), some(names, 3))
    return [names[i] for i in np.linspace(0, len(names) - 1, MOST).astype(int)]


def _checked(
    name: str,
    table: pd.DataFrame,
    shifts: pd.DataFrame,
    kernel: str,
    n_perms: int,
    alpha: float,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Return the row of an embedding."""
    sources = sources_of(table.columns) or {name: table.shape[1]}
    ends = np.cumsum([0, *sources.values()])
    vectors = table.to_numpy(dtype=np.float64)
    parts = [vectors[:, a:b] for a, b in pairwise(ends)]
    kernels = [_kernel(part, kernel) for part in parts]
    found = vector_information(
        kernels, shifts.loc[table.index].to_numpy(), n_perms=n_perms, rng=rng
    )
    weights = zip(sources, found.weights, strict=True)
    return {
        "n_perturbations": len(table),
        "n_dims": table.shape[1],
        "error": found.error,
        "error_permuted": float(found.permuted.mean()),
        "pvalue": found.pvalue,
        "informative": bool(found.pvalue <= alpha),
        "weights": ", ".join(f"{k} {w:.2f}" for k, w in weights) if len(sources) > 1 else "",
        "says": _sentence(name, found, len(table), alpha),
    }


def _kernel(vectors: Floats, kernel: str) -> Floats:
    """Return a kernel of mean centred diagonal 1."""
    if kernel == "linear":
        values = vectors @ vectors.T
    else:
        values = np.exp(
            -cdist(vectors, vectors, "sqeuclidean") / (2 * gaussian_width(vectors) ** 2)
        )
    return values / scale_of(values)


def _sentence(name: str, found: Information, n: int, alpha: float) -> str:
    """Say what the test found."""
    says = (
        "says which responses are alike"
        if found.pvalue <= alpha
        else "carries no information about which responses are alike"
    )
    return (
        f"{name!r} {says} (p = {found.pvalue:.2g}): over {n} perturbations, its leave-one-out "
        f"error is {found.error:.2f} of that of the mean response, and "
        f"{found.permuted.mean():.2f} with permuted vectors"
    )
