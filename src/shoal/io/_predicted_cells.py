"""Which predicted cells are written into a file, under which labels, and beside which controls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._logging import logger
from .._validate import listed, positive, some, text
from ..core._doses import same_dose
from ..core._predictions import PREDICTED, known_predictions, prediction_slot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from .._typing import Bools, Ints
    from ..core._population import Population

IN_X = "X"  # the prediction of an AnnData of predicted cells
MAKE_COUNTS = "predict counts, with sh.tl.predict(adata, model, counts=True)"


def meant(adata: AnnData, prediction: str | None, *, has_controls: bool) -> str:
    """Return the name of the layer that is written, or ``"X"``.

    Raises
    ------
    KeyError
        If there is no such prediction.
    ValueError
        If its values are no genes, or `adata` has predicted cells only and no controls are given.
    """
    alone = IN_X in known_predictions(adata).index
    if prediction is None:
        prediction = IN_X if alone else "predicted"
    text(prediction, name="prediction")
    if prediction == IN_X:
        if alone and not has_controls:
            msg = (
                "data holds predicted cells only, and control cells are needed beside them: pass "
                "the screen as controls=, and the layer of its measured counts as layer="
            )
            raise ValueError(msg)
        return IN_X
    where, key = prediction_slot(adata, prediction)
    if where != "layers":
        msg = (
            f"prediction={prediction!r} is a representation, obsm[{key!r}], and counts of genes "
            "are needed: fit a model without use_rep=, and predict with counts=True"
        )
        raise ValueError(msg)
    return key


def twins_of(cells: Population, key: str, *, context: str | None, dose: float | None) -> Ints:
    """Return the rows that were predicted, of one context and at one dose.

    Raises
    ------
    KeyError
        If nothing was predicted in that context or at that dose.
    ValueError
        If nothing was predicted at all, or several contexts or doses and none is named.
    """
    found, column = cells.perturbed, key + PREDICTED
    if key != IN_X and column in cells.adata.obs:
        found = found & cells.adata.obs[column].to_numpy(dtype=bool)
    rows = np.flatnonzero(found)
    if len(rows) == 0:
        msg = f"prediction={key!r} holds no predicted cell: {MAKE_COUNTS}"
        raise ValueError(msg)
    if context is not None:
        text(context, name="context")
    if dose is not None:
        positive(dose, name="dose")
        dose = same_dose(dose)
    contexts = np.array([*cells.contexts, ""], dtype=object)[cells.context]
    rows = rows[_one("context", contexts[rows], context, column=cells.screen.context_key)]
    return rows[_one("dose", cells.dose[rows], dose, column=cells.screen.dose_key)]


def _one(name: str, values: Any, wanted: Any, *, column: str | None) -> Bools:
    """Return (n,) which cells have the wanted context or dose, or the only one there is."""
    there = sorted({v for v in values.tolist() if v != "" and v == v})
    missing = any(v == "" or v != v for v in values.tolist())
    if wanted is None:
        if len(there) + (missing and column is not None) > 1:
            none = ", and cells without any" if missing else ""
            msg = (
                f"several {name}s were predicted ({some(there)}{none}) and a file holds one of "
                f"them: choose it with {name}="
            )
            raise ValueError(msg)
        return np.ones(len(values), dtype=bool)
    if column is None:
        msg = (
            f"{name}={wanted!r} cannot be chosen, because no column of {name}s is recorded: leave "
            f"it out, or call sh.pp.annotate with {name}_key="
        )
        raise ValueError(msg)
    if wanted not in there:
        msg = f"{name}={wanted!r} was not predicted; choose one of {some(there)}"
        raise KeyError(msg)
    return np.asarray(values == wanted, dtype=bool)


def labels_of(
    cells: Population,
    rows: Ints,
    perturbations: Sequence[str] | None,
    control_label: str,
    *,
    skipped: str,
) -> dict[int, str]:
    """Return the code of each perturbation that is written -> its label in the file.

    Raises
    ------
    ValueError
        If a perturbation was not predicted, there is none, or one has the label of the control.
    """
    known = {cells.names[code]: int(code) for code in np.unique(cells.labels.code[rows])}
    if perturbations is None:
        label = {code: name for name, code in known.items()}
        if skipped:
            logger.warning("the model could not predict, and the file lacks: %s", skipped)
    else:
        control = (control_label, *cells.screen.control)
        asked = [one for one in listed(perturbations, name="perturbations") if one not in control]
        if not asked:
            msg = "perturbations is empty; leave it out to write all that were predicted"
            raise ValueError(msg)
        canonical = {one: cells.screen.canonical(one) for one in asked}
        lost = [one for one, name in canonical.items() if name not in known]
        if lost:
            why = f" The model could not: {skipped}." if skipped else ""
            msg = (
                f"{len(lost)} of {len(asked)} perturbations have no predicted cell here: "
                f"{some(lost)}.{why} sh.tl.predict(adata, model, counts=True) predicts all that "
                "the model can"
            )
            raise ValueError(msg)
        label = {known[name]: one for one, name in canonical.items()}
    if control_label in label.values():
        msg = (
            f"control_label={control_label!r} is also the name of a perturbation; a file needs one "
            "name for the control cells alone"
        )
        raise ValueError(msg)
    return label


def controls_of(cells: Population, contexts: set[str]) -> Ints:
    """Return the rows of the control cells of the context that is written.

    Raises
    ------
    ValueError
        If there are none.
    """
    found = cells.labels.is_control
    if cells.screen.context_key is not None:
        found = found & np.isin(np.array([*cells.contexts, ""])[cells.context], list(contexts))
    if not found.any():
        where = "".join(f" of context {one!r}" for one in sorted(contexts) if one)
        msg = (
            f"there is no control cell{where}, and the file needs some: pass a screen that has "
            "them as controls="
        )
        raise ValueError(msg)
    return np.flatnonzero(found)
