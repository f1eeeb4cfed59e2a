r"""How much of a predicted response is believed: the share of a population's cells that get it.

A predicted population is a mixture: a share s of its cells comes from the network (P), the rest are
control cells as they were measured (C). The energy distance D is a squared distance of mean
embeddings. Between the mixture and the real cells (Q) it is therefore a quadratic in s,

.. math:: D(s) = s^2 D(P, C) - s\,[D(P, C) + D(Q, C) - D(P, Q)] + D(Q, C),

with its minimum, over several conditions c, at

.. math:: s^* = \frac{\sum_c D(P_c, C_c) + D(Q_c, C_c) - D(P_c, Q_c)}{2 \sum_c D(P_c, C_c)}.

It is 1 where the prediction is right, and 0 where nothing responds. A network that makes a response
of the right kind and twice the size has 1/2 for small responses.

How far a prediction is right differs between contexts and conditions. Where one or two were left
out, they say little of others. Then a prediction is only kept from moving populations farther than
populations were measured to move, those of training (t) among them:

.. math:: s_0^2 = \frac{\operatorname{mean}_{c, t} D(Q, C)}{\operatorname{mean}_c D(P, C)}.

This needs no prediction to be right, and is 0 as well where nothing responds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core._codes import members
from ...metrics._cells import densify
from ._requests import by_condition, request_like
from ._sets import conditions_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..._typing import Bools, Floats, Ints, Matrix
    from ...core._population import Population
    from ...training import Conditions
    from ._requests import PredictionRequest

MOST_CELLS = 256  # of a condition
MOST_CONDITIONS = 32
LEAST_CELLS = 10  # conditions of fewer cells say too little
LEAST_UNITS = 3  # contexts or conditions that were left out, for the share itself
BEYOND = 10.0  # no share is larger, of whatever sign
QUIET = 3.0  # standard errors of a response below which a condition of training hardly responds
BLOCKS = 10  # of cells, left out one at a time for the standard error


@dataclass(frozen=True)
class Evidence:
    """What one condition says of the share: three sums, with all cells and without some.

    Attributes
    ----------
    along
        (1 + BLOCKS,) half of D(P, C) + D(Q, C) - D(P, Q): first with all cells, then without each
        block of cells.
    length
        (1 + BLOCKS,) D(P, C), likewise.
    response
        (1 + BLOCKS,) D(Q, C), likewise.
    unit
        Name of what was left out of training as a whole: the context, or the condition.
    """

    along: Floats
    length: Floats
    response: Floats
    unit: str = ""


def evidence(
    predicted: Floats,
    control: Floats,
    real: Floats,
    *,
    source: Ints | None = None,
    control_rows: Ints | None = None,
    unit: str = "",
) -> Evidence:
    """Compare the predicted, the control and the real cells of a condition.

    Parameters
    ----------
    predicted, control, real
        (n, d) cells of each.
    source, control_rows
        Control cell that each predicted cell stands for, and that each control cell is. Pairs of
        one and the same control cell are left out of the means. ``None`` where all differ.
    unit
        What was left out of training as a whole.
    """
    n_p, n_c = len(predicted), len(control)
    p = np.arange(n_p) if source is None else source
    c = n_p + np.arange(n_c) if control_rows is None else control_rows
    q = -1 - np.arange(len(real))
    pc = _means(predicted, control, p, c)
    qc, pq = _means(real, control, q, c), _means(predicted, real, p, q)
    pp, cc, qq = (_means(x, x, name, name) for x, name in ((predicted, p), (control, c), (real, q)))
    return Evidence(
        along=pc + qc - pq - cc, length=2 * pc - pp - cc, response=2 * qc - qq - cc, unit=unit
    )


def share_of(several: Sequence[Evidence], trained: Sequence[Floats] = ()) -> float:
    """Return the share that fits best, drawn towards 1 by its sampling error.

    With an estimate s and its standard error e, the distance of s from 1 is multiplied by
    1 - (e / (1 - s))², at least by 0. A share within one standard error of 1 is thus 1. The
    error is the larger one of two jackknives: over blocks of cells, and over what was left out.

    Parameters
    ----------
    several
        Evidence of one condition each. Without any, the share is 1.
    trained
        (1 + BLOCKS,) D(Q, C) of each of some conditions of training, for where few were left out.

    Returns
    -------
    Share, from 0 to 1.
    """
    if not several:
        return 1.0
    length = np.stack([one.length for one in several])
    if not length[:, 0].sum() > 0:  # the network moves nothing
        return 1.0
    code = np.unique([one.unit for one in several], return_inverse=True)[1]
    if code.max() + 1 >= LEAST_UNITS:
        units = np.eye(code.max() + 1)[code].T
        along = units @ np.stack([one.along for one in several])
        length = units @ length
        share, without = _shares(along, length)
        left_out = along[:, 0].sum() - along[:, 0], length[:, 0].sum() - length[:, 0]
        error = max(_jackknife(without), _jackknife(_ratio(*left_out)))
    else:
        response = np.stack([*(one.response for one in several), *trained])
        squares = _shares(response / len(response), length / len(length))
        share, without = (np.sqrt(np.maximum(square, 0)) for square in squares)
        error = _jackknife(without)
    return _drawn_to_one(float(share), error)


def own_share(one: Evidence) -> float:
    """Return the share that fits one condition best, s*, drawn towards 1 as by :func:`share_of`.

    The condition speaks for itself, so that the direction of its response counts. Its size alone
    says little where it is small: what is measured is then the chance of few cells.
    """
    if not one.length[0] > 0:  # the network moves nothing
        return 1.0
    share, without = _shares(one.along[None], one.length[None])
    return _drawn_to_one(float(share), _jackknife(without))


def fitted_share(model: Any, conditions: Conditions, *, rng: np.random.Generator) -> float:
    """Return the share of cells that should respond, fitted on conditions outside training.

    Parameters
    ----------
    model
        Trained model, whose populations respond in all cells.
    conditions
        Conditions that the network was not trained on, over ``model.cells``.
    rng
        Draws the cells.
    """
    cells = model.cells
    contexts = np.unique(cells.context[cells.train])
    found = []
    for index, rows, control in _drawn(cells, conditions, rng):
        whole = cells.context[rows[0]] not in contexts  # the context was left out
        unit = str(conditions.context[index]) if whole else conditions.names[index]
        found.append(replace(_compared(model, rows, control, rng), unit=unit))
    if len({one.unit for one in found}) >= LEAST_UNITS:
        return share_of(found)
    trained = conditions_of(cells, cells.train, model.vocabulary)
    responses = [_response(model, rows, c) for _, rows, c in _drawn(cells, trained, rng)]
    return share_of(found, responses)


def known_shares(model: Any, *, rng: np.random.Generator) -> dict[str, float]:
    """Return the shares of conditions of training that hardly respond: condition -> share below 1.

    The response of a condition of training was measured: D(Q, C). Where that is less than three
    standard errors, the network may have followed the chance of few cells. The share is then the
    one that fits the condition best, see :func:`own_share`. Without a response it is near 0: the
    network moves controls, and not towards the real cells.

    Parameters
    ----------
    model
        Trained model, whose populations respond in all cells.
    rng
        Draws the cells.
    """
    cells, found = model.cells, {}
    conditions = conditions_of(cells, model.trained_cells, model.vocabulary)
    for index, rows, control in _drawn(cells, conditions, rng, most=len(conditions)):
        response = _response(model, rows, control)
        if response[0] < QUIET * _jackknife(response[1:]):
            share = own_share(_compared(model, rows, control, rng))
            if share < 1:
                found[conditions.names[index]] = share
    return found


def _compared(model: Any, rows: Ints, control: Ints, rng: np.random.Generator) -> Evidence:
    """Compare what a model predicts for a condition with its cells, at `rows`, and with controls.

    Parameters
    ----------
    model
        Trained model.
    rows, control
        Positions of real cells, and of matched controls to compare both with.
    rng
        Draws the controls that predictions start from.
    """
    cells = model.cells
    source = cells.controls.draw(cells.context[rows], cells.batch[rows], rng)[0]
    made = model._values(request_like(cells, rows, source), cells, rng, {})
    parts = (_encoded(model, x) for x in (made, cells.values(control), cells.values(rows)))
    return evidence(*parts, source=source, control_rows=control)


def _response(model: Any, rows: Ints, control: Ints) -> Floats:
    """Return (1 + BLOCKS,) D(Q, C) of a condition, as of :class:`Evidence`."""
    real, c = (_encoded(model, model.cells.values(at)) for at in (rows, control))
    return evidence(c, c, real, source=control, control_rows=control).response


def _encoded(model: Any, values: Matrix) -> Floats:
    dense = densify(values).astype(np.float32)
    return model.space.encode(dense).reshape(values.shape[0], -1)


def _drawn(
    cells: Population, conditions: Conditions, rng: np.random.Generator, most: int = MOST_CONDITIONS
) -> Iterator[tuple[int, Ints, Ints]]:
    """Yield some conditions: number, rows of their cells, and rows of matched controls."""
    able = np.flatnonzero(conditions.sizes >= LEAST_CELLS)
    if len(able) > most:
        able = np.sort(rng.choice(able, most, replace=False))
    for index in able:
        own = conditions.cells[index]
        own = own if len(own) <= MOST_CELLS else rng.choice(own, MOST_CELLS, replace=False)
        rows = by_condition(cells, own)
        yield int(index), rows, cells.controls.draw(cells.context[rows], cells.batch[rows], rng)[0]


def leave_still(
    values: Matrix,
    request: PredictionRequest,
    cells: Population,
    share: float | Floats,
    rng: np.random.Generator,
) -> Matrix:
    """Put the control cells as measured in the place of all predicted cells but a share.

    Parameters
    ----------
    values
        (n, n_features) predicted cells of a request; changed in place.
    request
        The request.
    cells
        Population whose rows the request uses.
    share
        Share of the cells of every population that respond; or (n,), that of the population of
        each row.
    rng
        Chooses them.
    """
    if np.any(np.less(share, 1)):
        still = np.flatnonzero(~responding(request, share, rng))
        values[still] = cells.values(request.source[still])
    return values


def responding(
    request: PredictionRequest, share: float | Floats, rng: np.random.Generator
) -> Bools:
    """Return (n,) which cells of a request respond.

    The draw is systematic: of n cells of a population, or of one of its batches, s n respond, but
    for rounding.
    """
    chosen, share = np.zeros(len(request), dtype=bool), np.broadcast_to(share, len(request))
    for own in members(request.populations()):
        order = own[np.lexsort((rng.random(len(own)), request.batch[own]))]
        count = np.floor(share[own[0]] * np.arange(len(own) + 1) + rng.random())
        chosen[order] = np.diff(count) > 0
    return chosen


def _means(x: Floats, y: Floats, x_name: Ints, y_name: Ints) -> Floats:
    """Return (1 + BLOCKS,) mean distances of pairs of different cells: of all, and without a block.

    The blocks are those of both populations, number by number.
    """
    x, y = x.astype(np.float64), y.astype(np.float64)
    centre = x.mean(axis=0)
    x, y = x - centre, y - centre
    square = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * x @ y.T
    differ = (x_name[:, None] != y_name).astype(np.float64)
    distance = np.sqrt(square.clip(min=0)) * differ
    of_x, of_y = (np.eye(BLOCKS)[np.arange(len(some)) % BLOCKS] for some in (x, y))
    total, number = (_without(of_x.T @ pairs @ of_y) for pairs in (distance, differ))
    return total / np.maximum(number, 1)


def _without(table: Floats) -> Floats:
    """Return the sum of a (BLOCKS, BLOCKS) table, and that without each row and its column."""
    both = table.sum(axis=0) + table.sum(axis=1) - np.diagonal(table)
    return table.sum() - np.r_[0.0, both]


def _drawn_to_one(share: float, error: float) -> float:
    """Return a share that is nearer to 1, the more so the larger its error is."""
    distance = 1 - share
    if distance <= error:
        return 1.0
    return float(np.clip(1 - distance * (1 - (error / distance) ** 2), 0, 1))


def _shares(above: Floats, below: Floats) -> tuple[Floats, Floats]:
    """Return the ratio of two sums over conditions, with all cells, and without each block."""
    ratio = _ratio(above.sum(axis=0), below.sum(axis=0))
    return ratio[0], ratio[1:]


def _ratio(along: Floats, length: Floats) -> Floats:
    with np.errstate(over="ignore"):  # of a network that moves nothing
        ratio = along / np.maximum(length, np.finfo(np.float64).tiny)
    return np.clip(ratio, -BEYOND, BEYOND)


def _jackknife(without: Floats) -> float:
    """Return the standard error of an estimate, from those without each part."""
    n = len(without)
    return float(np.sqrt((n - 1) * np.var(without)))
