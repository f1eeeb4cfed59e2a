"""Where predictions come from: the model, and whether its embedding saw held-out cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
from scipy import sparse

from .._keys import PREDICTIONS
from .._validate import key_in, text
from ._remembered import remembered, unpacked
from ._results import entry_of
from ._screen import labels
from ._slots import recorded_screen, written

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from anndata import AnnData

SCHEMA = "perturbation_predictions/1"
PREDICTED = "_predicted"  # obs: after the name of a prediction, which rows were predicted
VCC_COLUMN, VCC_CONTROL = "target", "non-targeting"  # labels of the Virtual Cell Challenge
SOURCE = "_source"  # obs: after the name of a prediction, the cell that each row starts from


def prediction_slot(adata: AnnData, key: str) -> tuple[str, str]:
    """Return where a prediction is: ``"layers"`` or ``"obsm"``, and its key there.

    The name `key` stands for the layer `key`, or for ``obsm[key]``, or for ``obsm["X_" + key]`` as
    `tl.predict` writes predictions of a representation.

    Raises
    ------
    KeyError
        If there is none.
    ValueError
        If there are several: none of them goes before the others.
    """
    text(key, name="prediction")
    places = [("layers", key), ("obsm", key), ("obsm", f"X_{key}")]
    known = [place for place in places if place[1] in getattr(adata, place[0])]
    if not known:
        layers = [name for name in adata.layers if name is not None]
        hint = f"sh.tl.predict(adata, model, key_added={key!r}) writes it."
        key_in(key, layers, where="adata.layers", hint=hint)
    if len(known) > 1:
        several = " and ".join(f"{where}[{name!r}]" for where, name in known)
        msg = f"prediction={key!r} could be {several}; rename or delete one of them"
        raise ValueError(msg)
    return known[0]


def prediction_entry(
    adata: AnnData,
    key: str,
    *,
    model: str,
    embedding: str,
    context_embedding: str = "",
    transductive: bool,
    skipped: str = "",
    counts: bool = False,
    slot: str,
    source: str,
    time: str = "",
    refitted: bool = False,
    conditions: Sequence[str] = (),
) -> dict[str, Any]:
    """Return ``uns["perturbation_predictions"]`` with a line on one more prediction.

    Lines of predictions that are gone are left out.

    Parameters
    ----------
    adata
        AnnData that holds, or will hold, the prediction.
    key
        Name of the prediction; ``"X"`` where it is the matrix of an AnnData of its own.
    model
        Class of the model.
    embedding
        Name of its embedding of perturbations.
    context_embedding
        Name of its embedding of contexts; empty if it was told their names.
    transductive
        Whether the embedding of perturbations has seen held-out cells.
    skipped
        What the model could not predict, and why.
    counts
        Whether the predicted values are integer counts.
    slot
        Where the predicted values are, such as ``"layers/flow"``.
    source
        Column of ``obs`` with the name of the cell that each predicted cell starts from.
    time
        Column of ``obs`` with the times of an interpolation; empty if it is none.
    refitted
        Whether the model was trained on the conditions of ``"val"`` too.
    conditions
        Conditions of training, as `_remembered.packed` writes them; empty if they are not known.
    """
    rows = {
        k: {"context_embedding": "", "counts": False, "refitted": False, **row}
        for k, row in known_predictions(adata).to_dict("index").items()
        if k in adata.layers or f"X_{k}" in adata.obsm
    }
    rows[key] = {
        "model": model,
        "embedding": embedding,
        "context_embedding": context_embedding,
        "transductive": transductive,
        "skipped": skipped,
        "counts": counts,
        "slot": slot,
        "source": source,
        "time": time,
        "refitted": refitted,
    }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("prediction")
    others = [str(k) for k in rows if k != key]
    seen = [remembered(adata, k).assign(prediction=k) for k in others]
    trained = pd.concat([*seen, unpacked(conditions).assign(prediction=key)], ignore_index=True)
    trained = trained.astype("category")
    return entry_of(table, SCHEMA, {"skipped": skipped}, trained=trained)


def skipped_by(adata: AnnData, key: str) -> str:
    """Return what the model of a prediction could not predict, and why; empty if unknown."""
    known = known_predictions(adata)
    return str(known.loc[key, "skipped"]) if key in known.index and "skipped" in known else ""


def holds_counts(adata: AnnData, key: str) -> bool:
    """Return whether a prediction is recorded to be counts; ``"X"`` for predicted cells alone."""
    known = known_predictions(adata)
    return key in known.index and "counts" in known and bool(known.loc[key, "counts"])


def refuse_counts(adata: AnnData, key: str, *, what: str) -> None:
    """Raise ``ValueError`` if a prediction is recorded to be counts, where others are needed.

    Parameters
    ----------
    adata
        AnnData with the prediction.
    key
        Name of the prediction; ``"X"`` where it is the matrix of an AnnData of its own.
    what
        What needs log-normalised values, such as ``"a plot"``.
    """
    if holds_counts(adata, key):
        msg = (
            f"the prediction {key!r} holds counts, as counts=True makes them, and {what} compares "
            "it with log-normalised cells: predict without counts=True, under another name"
        )
        raise ValueError(msg)


def refuse_partly_predicted(adata: AnnData, layer: str) -> None:
    """Raise ``ValueError`` if a layer is a prediction that some perturbed cells do not have.

    The rows of these cells hold nothing, and nothing is no value of 0. What takes predicted rows
    alone does not ask.

    Parameters
    ----------
    adata
        AnnData with the layer.
    layer
        Name of the layer.
    """
    flag = f"{layer}{PREDICTED}"
    if flag not in adata.obs or layer not in known_predictions(adata).index:
        return
    lacking = ~adata.obs[flag].to_numpy(dtype=bool)
    screen = recorded_screen(adata)
    if screen is not None and screen.perturbation_key in adata.obs:
        lacking &= ~labels(adata, screen).is_control
    elif sparse.issparse(adata.layers[layer]):
        lacking &= adata.layers[layer].getnnz(axis=1) < 2  # a single NaN, or not even that
    else:
        return  # NaN is noticed where values are read
    if lacking.any():
        msg = (
            f"layers/{layer} has no prediction for {lacking.sum()} of {len(lacking)} cells, so it "
            f"cannot be measured as a whole: take the cells with adata.obs[{flag!r}] and the "
            "control cells alone, adata[...].copy(), or predict all perturbed cells with "
            f"sh.tl.predict(adata, model, key_added={layer!r})"
        )
        raise ValueError(msg)


def known_predictions(adata: AnnData) -> pd.DataFrame:
    """Return what is recorded of predictions, one row each; no rows if nothing of ours is there."""
    if not written(adata, PREDICTIONS, [SCHEMA]):
        return pd.DataFrame()
    table: pd.DataFrame = adata.uns[PREDICTIONS]["table"]
    return table


def owned_slots(adata: AnnData, key: str) -> set[str]:
    """Return the slots that an earlier prediction of that name wrote."""
    owned, known = written(adata, PREDICTIONS, [SCHEMA]), known_predictions(adata)
    if key in known.index:
        owned |= {str(known.loc[key, "slot"]), f"obs/{key}{PREDICTED}", f"obs/{key}{SOURCE}"}
    return owned


def column_of(
    adata: AnnData, role: Literal["source", "time"], *, taken: Collection[str | None] = ()
) -> str | None:
    """Return the column of predicted cells with their sources, or with their times.

    Parameters
    ----------
    adata
        AnnData of predicted cells, as a model returns it.
    role
        ``"source"`` for the name of the cell that each starts from, ``"time"`` for the times of an
        interpolation.
    taken
        Columns of the design. Cells without a record of ours have the column under the name of its
        role, unless it is one of these.
    """
    known = known_predictions(adata)
    unrecorded = "" if role in taken else role
    name = str(known.loc["X", role]) if "X" in known.index else unrecorded
    return name if name in adata.obs else None


def is_refitted(adata: AnnData, key: str) -> bool:
    """Return whether the model of a prediction is known to have been trained on ``"val"`` too."""
    known = known_predictions(adata)
    return key in known.index and "refitted" in known and str(known.loc[key, "refitted"]) == "True"


def is_transductive(adata: AnnData, key: str) -> bool:
    """Return whether the embedding of a prediction's model is known to have seen held-out cells."""
    known = known_predictions(adata)
    return key in known.index and bool(known.loc[key, "transductive"])
