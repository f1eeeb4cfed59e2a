"""The third pass over a matrix: each cell beside its own group, see `_groups`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ._block_sums import row_dot
from ._plan import fitted_dot, foot_dot, offsets, quadratic, quadratic_rows
from ._walk import walk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._typing import Floats, Matrix
    from ._groups import Directions
    from ._matrix import Rows
    from ._plan import Plan
    from ._walk import Totals, Values


@dataclass(frozen=True)
class CellDots:
    """Each cell beside its own group. Values of cells without a group mean nothing.

    Attributes
    ----------
    unit_square
        (n_obs,) |w_i|^2.
    unit
        For each plan, (n_obs,) w_i . sum of w over the group of i.
    along
        For each plan, (n_obs,) s_i . a vector of the group of i.
    """

    unit_square: Floats
    unit: Sequence[Floats]
    along: Sequence[Floats]


def cell_dots(
    rows: Rows, plans: Sequence[Plan], sums: Directions, along: Sequence[Floats]
) -> CellDots:
    """Walk through the matrix once more, and compare each cell with its own group.

    Parameters
    ----------
    rows
        (n_obs, d) matrix.
    plans
        Those that `sums` was made with.
    sums
        What the first two walks found.
    along
        For each plan, a vector (G, d) of each group to project the shifts of its cells on.
    """
    shift, unit, w = sums.shift.coef, sums.direction.coef, sums.weight
    plan, centred = plans[0], [group.centred for group in sums.groups]
    codes = [np.maximum(p.perturbed, 0) for p in plans]
    tables = [
        (offsets(shift, centred[i], p), offsets(unit, centred[i], p), offsets(shift, along[i], p))
        for i, p in enumerate(plans)
    ]
    cross_term, unit_norm = quadratic(shift, unit, plan), quadratic(unit, unit, plan)

    def visit(where: slice, block: Matrix, total: Totals) -> Values:
        on_mean = w[where] * (
            fitted_dot(block, plan, where, unit) - quadratic_rows(cross_term, plan, where)
        )
        square = (w[where] > 0) - 2 * on_mean + quadratic_rows(unit_norm, plan, where)
        values = {"unit_square": square}
        for i, (p, code) in enumerate(zip(plans, codes, strict=True)):
            on_centred, on_unit, on_along = (foot_dot(table, p, where) for table in tables[i])
            to_unit = row_dot(block, centred[i], code[where]) - on_centred
            values[f"unit {i}"] = w[where] * to_unit - on_unit
            values[f"along {i}"] = row_dot(block, along[i], code[where]) - on_along
        return values

    values = walk(rows, visit)[1]
    unit_dots, along_dots = (
        [values[f"{name} {i}"] for i in range(len(plans))] for name in ("unit", "along")
    )
    return CellDots(values["unit_square"], unit_dots, along_dots)
