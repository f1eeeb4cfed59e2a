"""Write predictions into a screen: one generated twin for every perturbed cell."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from .._docs import shared
from .._keys import PREDICTIONS, SPLIT
from .._logging import logger
from .._validate import between, cell_mask, flag, get_adata, key_in
from ..core._claims import check_name, claim
from ..core._intervals import SCHEMA, SUFFIX
from ..core._predictions import PREDICTED, SOURCE, owned_slots, prediction_entry
from ..core._screen import raw_counts
from ..core._slots import ABSENT, recorded_screen, write_slots, written
from ..metrics._cells import densify
from ..models.base._intervals import calibration_of
from ..models.base._libraries import Libraries
from ..models.base._requests import in_words, tell_left_out
from ._predict_intervals import interval_entry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData

    from .._random import RNGLike
    from .._typing import Bools, Ints, Matrix
    from ..core._screen import Screen


@shared()
def predict(
    data: AnnData | MuData,
    model: Any,
    *,
    key_added: str | None = None,
    overwrite: bool = False,
    subset: str | Sequence[str] | Bools | None = None,
    counts: bool = False,
    interval: float | None = None,
    pooled: bool = False,
    rng: RNGLike = 0,
    mod: str | None = None,
    **options: Any,
) -> None:
    """Predict a cell beside every perturbed cell: the *twin* of that cell.

    A twin has the same perturbation, context, batch and dose. It starts from a control cell of the
    same context and batch, never from the cell that it stands beside. Twins are a layer, so that
    whatever measures real cells measures them too: ``sh.tl.coherence(adata, layer=key_added)``.

    Parameters
    ----------
    data
        Screen.
    model
        A trained model, as :func:`shoal.tl.fit` returns it.
    key_added
        Name of the layer; ``"predicted"`` if ``None``.
    overwrite
        {overwrite}
    subset
        Cells that get a twin: a value of ``obs["split"]`` (``"test"``), several of them, or a mask
        of length n_obs. All perturbed cells if ``None``.
    counts
        Whether to write integer counts instead of log-normalised values. A twin has the library
        size of its control cell, times the change that the perturbation makes to library sizes in
        training. The counts of control cells are needed: ``layers["counts"]``, or
        ``obs["total_counts"]``, from which they are made again.
    interval
        Share, .9 say, for which intervals of the mean responses are written, see
        :doc:`/user_guide/intervals`. ``None`` for none. The model must know how far off its answers
        are: train it with ``sh.tl.fit(adata, ..., calibrate=True)``, or take ``"auto"``.
    pooled
        Whether `interval` is the share of all features of all conditions together. Else it is a
        share of the features of a condition, in as large a share of conditions.
    rng
        Seed or generator. The same seed gives the same twins, whatever the order of the rows.
    mod
        Modality to work on, if `data` is a MuData.
    **options
        How to generate, passed to model.twins: such as ``n_steps`` and ``guidance``.

    Returns
    -------
    Nothing; writes

    ``layers[key_added]``
        float32 (n_obs, n_vars): twins. Control cells keep their own values; perturbed cells without
        a twin are NaN. CSR where that is smaller, as for a few twins of a screen: the row of a cell
        without a twin then holds a single NaN. Functions that measure a layer refuse one with such
        rows. A model of a representation writes ``obsm["X_" + key_added]`` instead: float32
        (n_obs, n_dims), or (n_obs, C, H, W) of images; CellFlux writes images in the type of those
        it was given. With `counts`: int32, CSR, and control cells have their measured counts. Where
        values are whole numbers, which know no NaN, perturbed cells without a twin have zeros: a
        notice gives their number, and ``obs[key_added + "_predicted"]`` tells them apart.
    ``obs[key_added + "_predicted"]``
        bool: which rows are twins.
    ``obs[key_added + "_source"]``
        str: name of the control cell that each twin starts from; empty elsewhere.
    ``uns["perturbation_predictions"]``
        - ``table``, index prediction: ``model`` (its class), ``embedding``, ``context_embedding``
          (str: names of its vectors of perturbations and of contexts), ``transductive`` (bool:
          whether the former have seen held-out cells, see :func:`shoal.pp.embed`), ``slot`` and
          ``source`` (str: where the prediction and the names of its sources are), ``counts`` (bool:
          whether it holds counts), ``skipped`` (str: perturbations and contexts that the model
          cannot predict, and why; empty if there are none), and ``refitted`` (bool: whether the
          model was trained on the conditions of ``"val"`` too).
        - ``trained``: ``prediction``, ``perturbation``, ``context``, ``dose`` and ``guide`` (all
          categories): what the models of the predictions were trained on.
        - ``params``: ``skipped``, the same of this prediction.

    ``uns[key_added + "_intervals"]``
        With `interval`, for m conditions (perturbation, context and dose) and d features:

        - ``response``, ``low``, ``high``: float32 (m, d): predicted mean response (mean of the
          perturbed cells minus that of their controls) and its interval. What is covered is the
          measured response of as many cells as the condition has here. NaN where no question of the
          kind was left out of training.
        - ``table``, index condition: ``perturbation``, ``context``, ``dose``, ``kind`` (of
          question: what training knows of it), ``n_cells``, ``size`` (length of the predicted
          response over all features), ``bound`` (the true response is within this distance of the
          predicted one, in a share `interval` of conditions; NaN where errors within training were
          no larger than the noise of measuring, which hides them), ``probability`` (that cells of
          the condition would be found to respond).
        - ``features``, index feature: ``control_square`` (mean square in control cells, by which
          another scale of the values is noticed).
        - ``kinds``, index kind of question: ``n_conditions`` and ``n_units`` left out of training,
          ``reached`` (the level that so many vouch for), ``weaker`` and ``stronger`` (coverage of
          these by halves of their measured response), ``responds`` (share of them that do).
        - ``params``: ``level``, ``pooled``, ``model``, ``prediction``, and ``coverage``: what is
          covered, in words.

        Without `interval`, intervals of an earlier prediction of that name are removed.

    A perturbation that the model cannot predict does not keep the others from being predicted. Its
    cells have no twin, a warning names it, and ``skipped`` lists it.

    Raises
    ------
    KeyError
        If no perturbation has a vector, genes of training are missing, or there is no such split.
    ValueError
        If the model can predict none of the cells for another reason, the mask has the wrong
        length or chooses no perturbed cell, or `key_added` cannot be used or is taken by something
        that is no prediction; if counts are asked of a model that is not of log-normalised genes,
        or the library sizes of control cells are missing or do not fit their values; if intervals
        are asked of a model that was not calibrated.
    TypeError
        If `key_added` is no text, or `model` no model.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate(n_perturbations=4, rng=0)
    >>> sh.pp.annotate(adata, "perturbation", control="control")
    >>> sh.pp.prepare(adata, normalize="log1p", n_comps=10)
    >>> model = sh.tl.fit(adata, "mean_shift")
    >>> sh.tl.predict(adata, model, key_added="mean_shift")
    >>> adata.layers["mean_shift"].shape == adata.shape
    True
    """
    adata = get_adata(data, mod)
    if not (hasattr(model, "twins") and hasattr(model, "vocabulary")):
        msg = (
            f"model must be a trained model, as sh.tl.fit(adata, 'mean_shift') returns it, not "
            f"{model!r}"
        )
        raise TypeError(msg)
    flag(counts, name="counts")
    flag(pooled, name="pooled")
    if interval is not None:
        between(interval, 0, 1, name="interval")
        calibration_of(model)
    in_genes = model.vocabulary.in_genes
    key = check_name(
        adata, "predicted" if key_added is None else key_added, screen=model.vocabulary.screen
    )
    slot = f"layers/{key}" if in_genes else f"obsm/X_{key}"
    writes = (slot, f"obs/{key}{PREDICTED}", f"obs/{key}{SOURCE}", f"uns/{PREDICTIONS}")
    beside = f"uns/{key}{SUFFIX}"
    before = written(adata, key + SUFFIX, [SCHEMA])
    claims = writes if interval is None else (*writes, beside)
    claim(adata, claims, owned=owned_slots(adata, key) | before, overwrite=overwrite)
    chosen = _mask(adata, subset)
    cells = model._population(adata)
    control = np.flatnonzero(cells.labels.is_control)
    cells = replace(cells, rows=cells.rows.keeping(control))
    wanted = np.flatnonzero(cells.perturbed if chosen is None else cells.perturbed & chosen)
    if len(wanted) == 0:
        msg = f"no perturbed cell is in subset={_words(subset)}; nothing to predict"
        raise ValueError(msg)
    lost, reasons = model.left_out(cells, wanted)
    if lost.all():
        raise model._error(reasons)
    able = np.isin(np.arange(adata.n_obs), wanted[~lost])
    if counts:
        options = {**options, "counts": True}
    rows, twins, source = model.twins(cells, subset=able, rng=rng, **options)
    if in_genes and cells.rows.shape[1] != adata.n_vars:
        msg = (
            f"the model predicts {cells.rows.shape[1]} genes and this AnnData has {adata.n_vars}, "
            "so the twins are no layer of it: take adata[:, model.vocabulary.features].copy() first"
        )
        raise ValueError(msg)
    if counts:
        own = Libraries.of(cells).measured(control).counts
        values = _counts_in_place(adata.n_obs, rows, twins, control, own)
    else:
        own_values = model._as_taken(cells, control)
        values = _rows_in_place(adata.n_obs, rows, twins, control, own_values, may_be_csr=in_genes)
    if cells.rows.columns is not None:
        values = values[:, np.argsort(cells.rows.columns)]
    names = np.full(adata.n_obs, "", dtype=object)
    names[rows] = adata.obs_names.to_numpy()[source]
    known = model.vocabulary
    entry = prediction_entry(
        adata,
        key,
        model=type(model).__name__,
        embedding=known.embedding,
        context_embedding=known.context_embedding,
        transductive=known.transductive,
        skipped=in_words(reasons, most=None),
        counts=counts,
        slot=slot,
        source=key + SOURCE,
        refitted=getattr(model, "refitted", False),
        conditions=known.conditions,
    )
    predicted = np.isin(np.arange(adata.n_obs), rows)
    made = (values if in_genes else densify(values), predicted, names, entry)
    slots = dict(zip(writes, made, strict=True))
    if interval is not None:
        slots[beside] = interval_entry(
            model, cells, rows, key=key, level=interval, pooled=pooled, rng=rng
        )
    elif before:
        slots[beside] = ABSENT  # those of an earlier prediction of that name
    write_slots(adata, slots)
    if reasons:
        tell_left_out(reasons)
    n_empty = adata.n_obs - len(rows) - len(control)
    if n_empty and values.dtype.kind in "ui":
        logger.warning(
            "%d cells have no twin, and zeros in %s: take adata[adata.obs[%r]] where predicted "
            "%s are read",
            n_empty,
            slot,
            key + PREDICTED,
            "counts" if counts else "images",
        )


def _words(subset: str | Sequence[str] | Bools | None) -> str:
    """Return a subset as messages name it."""
    if subset is None or isinstance(subset, str):
        return repr(subset)
    values = np.asarray(subset)
    if values.dtype != bool:
        return repr(list(map(str, values)))
    return f"a mask with {int(values.sum())} of {len(values)} cells"


def _of_perturbations(adata: AnnData, screen: Screen | None, value: str) -> str:
    """Return how a subset names perturbations, if a value of it is one; empty otherwise."""
    key = None if screen is None else screen.perturbation_key
    if key not in adata.obs or value not in raw_counts(adata.obs[key]):
        return ""
    return f"Perturbations are named by a mask, subset=adata.obs[{key!r}].isin([{value!r}])."


def _mask(adata: AnnData, subset: str | Sequence[str] | Bools | None) -> Bools | None:
    """Return (n_obs,) which cells a subset means."""
    if subset is None:
        return None
    values = np.asarray([subset] if isinstance(subset, str) else subset)
    if values.dtype == object and all(isinstance(value, bool | np.bool_) for value in values.flat):
        values = values.astype(bool)
    if values.dtype == bool and values.ndim == 1:
        return cell_mask(subset, adata, name="subset")
    if values.ndim != 1:
        msg = (
            "subset must be a value of obs['split'], several of them, or a mask with one value a "
            f"cell, not {subset!r}"
        )
        raise TypeError(msg)
    if values.dtype.kind in "iu":
        msg = (
            "subset holds numbers: a mask has true or false for each cell, as in subset="
            "np.isin(np.arange(adata.n_obs), rows), and values of obs['split'] are texts"
        )
        raise TypeError(msg)
    key_in(
        SPLIT,
        adata.obs.columns,
        where="adata.obs",
        hint="A subset by name needs sh.pp.split(adata) first.",
    )
    screen = recorded_screen(adata)
    for value in values:
        key_in(
            str(value),
            sorted(set(adata.obs[SPLIT].dropna().astype(str))),
            where=f"adata.obs[{SPLIT!r}]",
            hint=_of_perturbations(adata, screen, str(value)),
        )
    return adata.obs[SPLIT].astype(object).isin([str(v) for v in values]).to_numpy(dtype=bool)


def _counts_in_place(
    n_obs: int,
    rows: Ints,
    twins: sparse.csr_matrix,
    control: Ints,
    own_counts: sparse.csr_matrix,
) -> sparse.csr_matrix:
    """Return int32 counts for each cell: twins and controls in their rows, zeros in all others."""
    both = sparse.vstack([twins, own_counts], format="csr", dtype=np.int32)
    place = np.full(n_obs, -1)
    place[np.concatenate([rows, control])] = np.arange(both.shape[0])
    sizes = np.where(place >= 0, np.diff(both.indptr)[place], 0)
    there = place[place >= 0]
    ordered = both[there]
    ends = np.concatenate([[0], np.cumsum(sizes)])
    return sparse.csr_matrix((ordered.data, ordered.indices, ends), shape=(n_obs, both.shape[1]))


def _rows_in_place(
    n_obs: int, rows: Ints, twins: Matrix, control: Ints, own_values: Matrix, *, may_be_csr: bool
) -> Matrix:
    """Return a value for each cell: twins and controls in their rows, and no prediction in others.

    Rows without a prediction are NaN in dense values. In CSR, which is taken where it is smaller,
    they hold one NaN: whatever reads the row finds it. Whole numbers, as those of images may be,
    have 0 there.

    Parameters
    ----------
    n_obs
        Number of cells.
    rows, twins
        Positions of the twins, and their values.
    control, own_values
        Positions of the control cells, and their values.
    may_be_csr
        Whether dense values may become CSR. Those of a representation stay dense.
    """
    at = np.concatenate([rows, control])
    empty = np.setdiff1d(np.arange(n_obs), at)
    if may_be_csr and twins.dtype.kind == "f" and (sparse.issparse(twins) or len(empty)):
        parts = [sparse.csr_matrix(part, dtype=np.float32) for part in (twins, own_values)]
        stored = sum(part.nnz for part in parts) + len(empty)
        if not len(empty) or 2 * stored < n_obs * twins.shape[1]:  # an index beside each value
            place = (np.arange(len(empty)), np.zeros(len(empty), dtype=np.int64))
            lacking = (np.full(len(empty), np.nan, dtype=np.float32), place)
            parts.append(sparse.csr_matrix(lacking, shape=(len(empty), twins.shape[1])))
            order = np.argsort(np.concatenate([at, empty]), kind="stable")
            return sparse.vstack(parts, format="csr")[order]
    whole = twins.dtype.kind in "ui"
    kind, none = (twins.dtype, 0) if whole else (np.float32, np.nan)
    values = np.full((n_obs, *twins.shape[1:]), none, dtype=kind)
    values[rows] = densify(twins)
    values[control] = densify(own_values)
    return values
