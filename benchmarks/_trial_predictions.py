"""Predictions whose place is known beforehand: inventions on a screen without effects, and oracles spoiled step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from _trial_fields import CONTROL, responses

if TYPE_CHECKING:
    from collections.abc import Callable

    from _trial_fields import Field

Cells = dict[tuple[str, str], np.ndarray]
RANK, AGAIN = 3, "controls again"
INVENTIONS = {
    "+1 in some genes": "control cells plus 1 in a random quarter of the genes, 100 at most",
    "low rank": f"control cells plus a response of rank {RANK}, as large as in a real screen",
    "another's shift": "control cells plus the mean shift of a perturbation of training",
    "+.05 in all genes": "control cells plus .05 in all genes",
    "another screen's": "control cells plus the response of a perturbation of another real screen, its genes shuffled",
}


def inventions(field: Field, *, source: str = "renge") -> dict[str, np.ndarray]:
    """Return other control cells, and what invents a response: name -> predictions."""
    return {AGAIN: field.filled(field.controls())} | {
        name: field.filled({key: cells + shift(*key) for key, cells in field.controls().items()})
        for name, shift in invented_shifts(field, source=source).items()
    }


def invented_shifts(field: Field, *, source: str) -> dict[str, Callable[[str, str], np.ndarray]]:
    """Return name -> a function from a condition to its invented shift, (n_genes,)."""
    rng, g = field.rng, field.adata.n_vars
    real = responses(source)
    real = real[:, rng.choice(real.shape[1], g, replace=g > real.shape[1])]
    _, size, axes = np.linalg.svd(real, full_matrices=False)
    size = size[:RANK] / np.sqrt(len(real))
    train = (field.adata.obs["split"] == "train").to_numpy()
    x, label, context = field.x, field.label, field.context

    def some_genes(_: str, __: str) -> np.ndarray:
        shift = np.zeros(g)
        shift[rng.choice(g, min(100, g // 4), replace=False)] = 1
        return shift

    def of_another(name: str, where: str) -> np.ndarray:
        here = train & (context == where)
        here = here if (here & (label != CONTROL)).any() else train
        known = [one for one in np.unique(label[here]) if one not in (CONTROL, name)]
        chosen = x[here & (label == rng.choice(known))]
        return chosen.mean(axis=0) - x[(label == CONTROL) & (context == where)].mean(axis=0)

    return {
        "+1 in some genes": some_genes,
        "low rank": lambda *_: (rng.normal(size=RANK) * size) @ axes[:RANK],
        "another's shift": of_another,
        "+.05 in all genes": lambda *_: np.full(g, 0.05),
        "another screen's": lambda *_: real[rng.integers(len(real))],
    }


def large_shifts(field: Field, only: str) -> dict[str, Callable[[str, str], np.ndarray]]:
    """Return inventions as large as the response of the only perturbation that responds: name -> shift of a condition."""
    (own,) = (cells for (name, _), cells in field.spare.items() if name == only)
    shift = own.mean(axis=0) - field.x[field.label == CONTROL].mean(axis=0)
    axes = np.linalg.qr(field.rng.normal(size=(len(shift), RANK)))[0].T
    size = np.linalg.norm(shift) / np.sqrt(RANK)
    small = invented_shifts(field, source="renge")
    return {
        "the same response": lambda *_: shift,
        "low rank, as large": lambda *_: size * field.rng.normal(size=RANK) @ axes,
        "+1 in some genes": small["+1 in some genes"],
    }


def mixed(field: Field, cells: Cells, other: Cells, share: float) -> np.ndarray:
    """Return predictions of which a share is `cells` and the others are of `other`, cell by cell."""
    return field.filled(
        {
            key: np.where(np.arange(len(own))[:, None] < round(share * len(own)), own, other[key])[
                field.rng.permutation(len(own))
            ]
            for key, own in cells.items()
        }
    )


def noisy(field: Field, cells: Cells, amount: float) -> np.ndarray:
    """Return predictions with independent noise, in standard deviations of each gene."""
    sd = field.x.std(axis=0)
    return field.filled(
        {key: own + amount * sd * field.rng.normal(size=own.shape) for key, own in cells.items()}
    )


def shrunk(field: Field, cells: Cells, share: float) -> np.ndarray:
    """Return predictions whose mean response is a share of what it was."""
    x, base = field.x, {}
    for _, where in cells:
        base[where] = x[(field.label == CONTROL) & (field.context == where)].mean(axis=0)
    return field.filled(
        {key: own - (1 - share) * (own.mean(axis=0) - base[key[1]]) for key, own in cells.items()}
    )


SHARES = (0.75, 0.5, 0.25)
CHAINS = {  # of each, every prediction must score more than the next
    "mixed with controls": [
        "oracle",
        *(f"{s:.0%} oracle, controls" for s in SHARES),
        "control copy",
    ],
    "mixed with others": ["oracle", *(f"{s:.0%} oracle, others" for s in SHARES)],
    "noise": ["oracle", "noise .5", "noise 1", "noise 2"],
    "shrunk": ["oracle", "half the response", "a fifth of it"],
}


def ladder(field: Field) -> dict[str, np.ndarray]:
    """Return an oracle, the cells that were put aside, and what spoils it: name -> predictions."""
    cells, controls, others = field.further(), field.controls(), field.others()
    made = {"oracle": field.filled(cells)}
    for s in SHARES:
        made[f"{s:.0%} oracle, controls"] = mixed(field, cells, controls, s)
        made[f"{s:.0%} oracle, others"] = mixed(field, cells, others, s)
    for name, amount in (("noise .5", 0.5), ("noise 1", 1.0), ("noise 2", 2.0)):
        made[name] = noisy(field, cells, amount)
    made["half the response"] = shrunk(field, cells, 0.5)
    made["a fifth of it"] = shrunk(field, cells, 0.2)
    return made


ERRORS = (0.0, 0.5, 1.0, 2.0)
KNOWN = [f"error {k:g}" for k in ERRORS]


def of_known_error(field: Field) -> dict[str, np.ndarray]:
    """Return control cells times the true fold-changes, whose logs are wrong by a known length: name -> predictions.

    The unit of the error is the length of the true effect, so an error of 1 is as large as that of the control copy.
    """
    truth = field.adata.uns["truth"]["lfc"].loc[:, field.adata.var_names]
    wrong = {}
    for key in field.conditions:
        lfc = truth.loc[key[0]].to_numpy(dtype=np.float64)
        e = field.rng.permutation(lfc) * field.rng.choice([-1, 1], len(lfc))
        wrong[key] = (lfc, e)
    controls = field.controls()
    return {
        name: field.filled(
            {
                key: np.log1p(np.expm1(own) * np.exp(wrong[key][0] + k * wrong[key][1]))
                for key, own in controls.items()
            }
        )
        for name, k in zip(KNOWN, ERRORS, strict=True)
    }
