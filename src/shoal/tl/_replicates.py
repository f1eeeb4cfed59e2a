"""The test whose unit is the replicate, beside that of cells: guides, donors, wells or batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._logging import logger
from ..metrics._coherence import signed_sqrt
from ..metrics._null import adjust
from ..metrics._replicates import replicate_test
from ._replicate_column import LEAST_CELLS, ReplicateColumn, replicates_of
from ._replicate_means import as_replicates, mean_shifts, shifts_within

if TYPE_CHECKING:
    from anndata import AnnData

    from ..core._groups import Directions
    from ..core._matrix import Rows
    from ..core._plan import Plan
    from ..core._screen import Screen


@dataclass(frozen=True)
class ByReplicate:
    """What the test says.

    Attributes
    ----------
    columns
        Columns of the table, (G,) each; none where no replicates are recorded.
    params
        What was used: ``replicate_key``, ``replicate_design``, ``n_control_replicates``,
        ``replicate_df``, ``replicate_variance`` and ``replicate_note``.
    """

    columns: dict[str, Any]
    params: dict[str, Any]

    def flagged(self, flags: list[str]) -> list[str]:
        """Return the flags of the rows, with ``few_replicates`` where nothing can be said."""
        if "n_replicates" not in self.columns:
            return flags
        alone = self.columns["n_replicates"] < 2
        return [
            ",".join(filter(None, (flag, "few_replicates" if one else "")))
            for flag, one in zip(flags, alone, strict=True)
        ]


def by_replicate(
    adata: AnnData,
    screen: Screen,
    rows: Rows,
    plan: Plan,
    sums: Directions,
    *,
    replicate_key: str | None,
    min_cells: int,
) -> ByReplicate:
    """Test every perturbation against the differences between replicates.

    Parameters
    ----------
    adata, screen, plan
        Screen, its description and what is compared.
    rows
        (n_obs, d) matrix. It is read once more, and a sample of the controls.
    sums
        What the statistics of cells were computed from.
    replicate_key
        Column of ``obs``; ``"auto"`` for the recorded guides or batches, ``None`` for no test.
    min_cells
        Fewest cells of a perturbation that is tested.

    Raises
    ------
    KeyError
        If there is no such column.
    TypeError
        If it is no text.
    ValueError
        If it is the column of perturbations.
    """
    key, found = replicates_of(adata, screen, plan, replicate_key)
    if found is None:
        return ByReplicate({}, _params("", None, "no replicates are recorded"))
    tested = None
    if not found.note:
        means = mean_shifts(found, rows, plan, sums)
        tested = replicate_test(
            as_replicates(found, plan, sums, means), shifts_within(found, rows, plan, sums, means)
        )
    nothing = np.full(plan.n_groups, np.nan)
    pvalue = (
        nothing
        if tested is None
        else np.where(sums.groups[0].n >= min_cells, tested.pvalue, np.nan)
    )
    columns = {
        "magnitude_replicate": nothing if tested is None else signed_sqrt(tested.estimate),
        "pvalue_replicate": pvalue,
        "qvalue_replicate": adjust(pvalue),
        "n_replicates": found.counts,
    }
    spread = None if tested is None else tested.spread
    params = _params(key, found, found.note) | {
        "replicate_df": 0 if spread is None else spread.free,
        "replicate_variance": np.nan if spread is None else spread.ratio,
    }
    _tell(key, found, columns, asked=replicate_key != "auto")
    return ByReplicate(columns, params)


def _params(key: str, found: ReplicateColumn | None, note: str) -> dict[str, Any]:
    design = "" if found is None else "paired" if found.paired else "two samples"
    return {
        "replicate_key": key,
        "replicate_design": design,
        "n_control_replicates": 0 if found is None else found.n_control,
        "replicate_note": note,
    }


def _tell(key: str, found: ReplicateColumn, columns: dict[str, Any], *, asked: bool) -> None:
    if found.note:
        say = logger.warning if asked else logger.info
        say("nothing can be said by replicates of %r: %s", key, found.note)
        return
    logger.info(
        "%d perturbations respond beyond what replicates differ by (%r, q < 0.05); %d have fewer "
        "than 2 replicates of %d cells and are not tested",
        int((columns["qvalue_replicate"] < 0.05).sum()),
        key,
        int((found.counts < 2).sum()),
        LEAST_CELLS,
    )
