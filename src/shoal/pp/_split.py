"""Hold out perturbations, combinations, contexts, doses or guides, and check that nothing leaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from .._docs import shared
from .._keys import EMBEDDINGS_INFO, SPLIT
from .._logging import logger
from .._random import as_generator
from .._validate import get_adata, key_in, listed, one_of
from ..core._claims import claim_result
from ..core._results import write_table
from ..core._screen import perturbed_labels, resolve
from ..core._split_plan import ASIDE, allot
from ..core._split_request import Request
from ..core._split_units import BY, make_items
from ..core._view import check_writable
from ._audit import CHECKS, refuse, run_checks, transductive
from ._split_checks import SIDES, Facts
from ._split_fits import train_fits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData

    from .._random import RNGLike
    from ..core._screen import Labels
    from ..core._split_units import Items

FEW = 10  # a held-out condition with fewer cells can hardly be judged


@shared()
def split(
    data: AnnData | MuData,
    perturbation_key: str | None = None,
    *,
    control: str | Sequence[str] | None = None,
    by: Literal[
        "perturbation", "combination", "context", "dose", "guide", "perturbation_context"
    ] = "perturbation",
    test: float | str | Sequence[Any] | None = None,
    val: float | str | Sequence[Any] = 0.0,
    n_folds: int | None = None,
    fold: int | None = None,
    parts_seen: int | None = None,
    zero_shot: bool = False,
    well_key: str | None = None,
    accept: str | Sequence[str] = (),
    rng: RNGLike = 0,
    key_added: str | None = None,
    overwrite: bool = False,
    mod: str | None = None,
) -> None:
    """Divide the cells into training, validation and test, and audit the division.

    - Whole conditions are held out. Cells of one condition are never on two sides.
    - Control cells are training cells: predictions start from them on both sides.
    - Every way in which the test could leak into training is checked and recorded. A leak is an
      error, unless it is accepted by name.

    Parameters
    ----------
    data
        Screen, one row per cell.
    perturbation_key, control
        {design}
    by
        What is held out:

        ``"perturbation"``
            single perturbations, and every combination that has one of them as a part;
        ``"combination"``
            combinations (`parts_seen` says what training knows of their parts);
        ``"context"``
            all perturbed cells of a context, whose controls stay (see `zero_shot`);
        ``"dose"``
            doses of perturbations that keep other doses in training;
        ``"guide"``
            guides of perturbations that keep at least one guide in training;
        ``"perturbation_context"``
            entries of the table perturbation x context, of which every row and every column keeps
            one in training.
    test
        What is the test: a share of the units that can be held out, or their names.

        - A share is taken of all units. One that comes to less than half of a unit is an error.
          For ``by="guide"`` it is taken of the guides of each perturbation, and at least one guide.
          ``None`` is 0.2, and at least one unit.
        - A unit of two parts is named ``"A | day5"`` or ``("A", "day5")``. A dose or a guide alone
          means every perturbation that has it. Numbers are named in a list, such as ``[10.0]``.
    val
        What is the validation, of what `test` leaves: a share of all units, or names, as for
        `test`. 0 for none. The shares of both must come to less than 1.
    n_folds, fold
        Number of folds that all units are dealt into, and the fold (from 0) that is the test. All
        calls need the same integer `rng`.
    parts_seen
        For ``by="combination"``: how many parts of a held-out combination training sees alone.
        ``None`` for all of them. The other parts are in no training cell: every condition with one
        of them is set aside.
    zero_shot
        For ``by="context"``: whether the test asks about contexts of which only control cells are
        given, and nothing else of their kind:

        - `val` is taken of the conditions (perturbation x context) of the other contexts, and named
          like ``"A | day5"``. No whole context is given up for it. Every perturbation and every
          context keeps a condition in training.
        - `test` takes contexts that have control cells. It may name contexts that have control
          cells alone. Nothing of these can be scored; ``model.predict(names, context=...)``
          predicts them.
    well_key
        Column of ``obs`` with the position on the plate (``"C03"``), or with anything that always
        has the same position, such as the guide. Where held-out perturbations are in the same wells
        in training, what a model carries over may be the position: the audit warns, and says how
        alike control wells are that share a position.
    accept
        Names of the leaks to accept, see :doc:`/user_guide/splits`.
    rng
        Seed or Generator that chooses what is held out.
    key_added
        Key of ``obs`` and ``uns`` to write. ``None``: ``"split"``.
    overwrite
        {overwrite}
    mod
        {mod}

    Returns
    -------
    Nothing. Writes

    ``obs["split"]``
        Category ``"train"``, ``"val"`` or ``"test"``. It is missing for cells without a label and
        for cells that are set aside.
    ``uns["split"]``
        - ``table``: the audit, index check. Column ``status`` is ``"ok"``, ``"by design"``,
          ``"leak"``, ``"accepted"``, ``"stale"`` (to be fitted again on the new training cells),
          ``"confounded"`` (effect and position cannot be told apart) or ``"not applicable"``.
          Column ``n`` (int64) counts the cells, conditions or batches that are concerned, and
          ``detail`` says more.
        - ``units``: the conditions outside training, index name. Columns ``perturbation``;
          ``context``, ``dose`` or ``guide`` if there is one; ``split`` (``"val"``, ``"test"`` or
          ``"aside"``); ``n_cells`` (int64).
        - ``params``, ``schema``, ``version``.
    ``uns["perturbation_embeddings_info"]``
        If there are embeddings and `key_added` is not given: ``transductive``, whether an embedding
        has seen cells that are held out now. Tables of scores mark models that use it.

    A view is turned into a copy first. After an error nothing has been written.

    Raises
    ------
    ValueError
        If there is a leak that is not accepted, if nothing can be held out, if nothing is left to
        train on, if a share comes to less than half of a unit, if labels are missing, or if
        arguments exclude each other.
    KeyError
        If a named perturbation, context, dose or guide is not in the screen.
    TypeError
        If `n_folds` comes without an integer seed.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate(n_perturbations=10, rng=0)
    >>> sh.pp.split(adata, "perturbation", control="control", by="perturbation", test=0.2, val=0.1)
    >>> adata.uns["split"]["units"]["split"].value_counts().to_dict()
    {'test': 2, 'val': 1}
    """
    adata = get_adata(data, mod)
    check_writable(adata)
    one_of(by, tuple(BY), name="by")
    accepted = tuple(listed(accept, name="accept"))
    for name in accepted:
        one_of(name, tuple(CHECKS), name="accept")
    if n_folds is not None and not isinstance(rng, (int, np.integer)):
        msg = (
            "n_folds needs an integer seed as rng, so that every call deals the same folds, "
            f"not {rng!r}"
        )
        raise TypeError(msg)
    request = Request(
        by,
        test=test,
        val=val,
        n_folds=n_folds,
        fold=fold,
        parts_seen=parts_seen,
        zero_shot=zero_shot,
    )
    screen = resolve(adata, perturbation_key, control=control)
    key = claim_result(
        adata,
        SPLIT if key_added is None else key_added,
        schema="split/1",
        screen=screen,
        obs=True,
        overwrite=overwrite,
    )
    if well_key is not None:
        key_in(well_key, adata.obs.columns, where="adata.obs", hint="(given as well_key)")
    labelled = perturbed_labels(adata, screen)
    items = make_items(adata, screen, labelled, by)
    sides = allot(items, screen, request, as_generator(rng))

    side = _sides_of_cells(items, labelled, sides)
    facts = Facts(
        adata,
        screen,
        labelled,
        side,
        by=by,
        parts_seen=parts_seen,
        zero_shot=bool(zero_shot),
        well_key=well_key,
    )
    table = run_checks(facts, accepted)
    refuse(table, slot=f"obs[{key!r}]", stale=False)
    units = _units_table(items, sides)
    _report(table, units)

    params = {
        **screen.params(),
        **request.params(),
        "accept": accepted,
        "well_key": well_key,
        "seed": rng if isinstance(rng, (int, np.integer)) else None,
        "train_fits": [f"{digest}@{cells}" for digest, cells in train_fits(adata).items()],
        **{f"n_{name}": int((side == i).sum()) for i, name in enumerate(SIDES)},
        "n_aside": int(units.loc[units["split"] == ASIDE, "n_cells"].sum()),
    }
    seen = transductive(facts) if key == SPLIT else {}
    slots = {f"obs/{key}": pd.Categorical.from_codes(side, list(SIDES))}
    if seen:
        info = adata.uns[EMBEDDINGS_INFO]
        marked = info["table"].assign(transductive=pd.Series(seen))
        slots[f"uns/{EMBEDDINGS_INFO}"] = {**info, "table": marked}
    write_table(adata, key, table, schema="split/1", params=params, slots=slots, units=units)


def _sides_of_cells(items: Items, labelled: Labels, sides: Sequence[str]) -> np.ndarray:
    """Return (n_obs,) position in `SIDES` of every cell, -1 for none; controls are in training."""
    lookup = np.array([SIDES.index(s) if s in SIDES else -1 for s in sides] + [-1], dtype=np.int64)
    side = lookup[items.code]
    side[labelled.is_control] = SIDES.index("train")
    return side


def _units_table(items: Items, sides: Sequence[str]) -> pd.DataFrame:
    """Return the conditions outside training."""
    level = BY[items.by]
    columns = {"perturbation": items.perturbation} | ({level: items.level} if level else {})
    table = pd.DataFrame(
        {**columns, "split": sides, "n_cells": items.n_cells},
        index=pd.Index(items.names, name="unit"),
    )
    return table[table["split"] != "train"]


def _report(table: pd.DataFrame, units: pd.DataFrame) -> None:
    """Log what is held out, and what the user may want to know of it."""
    n_of = units["split"].value_counts()
    said = ", ".join(f"{n} in {side}" for side, n in n_of.items() if n)
    logger.info("conditions outside training: %s", said)
    few = units[(units["n_cells"] < FEW) & (units["split"] != ASIDE)]
    if len(few):
        logger.warning(
            "%d held-out conditions have fewer than %d cells and can hardly be judged "
            "(sh.pp.filter drops small perturbations): %s",
            len(few),
            FEW,
            ", ".join(few.index[:6]),
        )
    for name, row in table[table["status"].isin(["stale", "confounded"])].iterrows():
        logger.warning("%s: %s; %s", name, row["detail"], CHECKS[str(name)].fix)
