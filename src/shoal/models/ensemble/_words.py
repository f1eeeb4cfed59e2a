"""What an ensemble says of one of its answers, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._carrier import CONTROL
from ._cells import MIXED
from ._weights import TOGETHER

if TYPE_CHECKING:
    import pandas as pd

LEAST = 0.005  # weight that is named: below it rounds to .00


def paragraph(what: str, rows: pd.DataFrame, carriers: pd.DataFrame) -> str:
    """Return who answers for a condition, and how such questions were answered within training.

    Parameters
    ----------
    what
        Sentence that says what is asked for, and which kind of question that is.
    rows
        Rows of ``model.weights`` of that kind.
    carriers
        Rows of ``model.carriers`` of that kind.
    """
    members, whole = rows[rows["member"] != TOGETHER], rows[rows["member"] == TOGETHER].iloc[0]
    some = members[members["weight"] >= LEAST].sort_values("weight", ascending=False)
    terms = [f"{w:.2f} x {m}" for m, w in zip(some["member"], some["weight"], strict=True)]
    if not whole["n_conditions"]:
        rule = " and ".join(some["member"])
        return f"{what} No such question was tried within training: the rule answers, {rule}."
    tried = (
        f"{whole['n_conditions']} conditions of this kind, of {whole['n_units']} units, were left "
        "out of training in turn"
    )
    if not terms:
        return (
            f"{what} {tried[0].upper()}{tried[1:]}. The members predicted them no better than a "
            "copy of the controls does, beyond the standard error, so the controls are copied. The "
            f"squared error of all members was {whole['error']:.2f} of that of a copy."
        )
    reason = str(whole["note"]).removeprefix("rule: ")
    why = f"by rule ({reason}), and {tried}" if reason else f"as {tried}"
    rest = 1 - float(some["weight"].sum())
    still = f" The rest, {rest:.2f}, adds nothing." if rest >= LEAST else ""
    alone = ", ".join(
        f"{m} alone {e:.2f}" for m, e in zip(some["member"], some["error"], strict=True) if e == e
    )
    own = carriers[carriers["chosen"]].iloc[0]
    begin = "To control cells is added" if own["carrier"] == CONTROL else "The mean response is"
    return (
        f"{what} {begin} {' + '.join(terms)}, {why}.{still} Within training the "
        f"squared error was {whole['error']:.2f} of that of a copy of the controls ({alone})."
        f"{_carried(carriers, own)}"
    )


def _carried(carriers: pd.DataFrame, own: pd.Series) -> str:
    """Return whose cells carry the mean response, and why; nothing if no other were tried."""
    if len(carriers) == 1:
        return ""
    control = carriers[carriers["carrier"] == CONTROL].iloc[0]
    others = carriers[carriers["carrier"] != CONTROL]
    tried = others[others["energy"].notna()]
    few = ", ".join(dict.fromkeys(others["carrier"][others["energy"].isna()]))
    none = f" {few} made cells of too few conditions of this kind to compare." if few else ""
    if tried.empty:
        return f" Control cells carry it.{none}"
    best = tried.loc[tried["energy"].idxmin()] if own["carrier"] == CONTROL else own
    beside = (
        f"energy distance {best['energy']:.4f} against {control['energy']:.4f}, standard error of "
        f"the difference {best['standard_error']:.2g}"
    )
    if own["carrier"] == CONTROL:
        return (
            " Control cells carry it: those of no member were nearer to the measured cells by 2 % "
            f"and two standard errors ({best['carrier']}, {best['way']}: {beside}).{none}"
        )
    whose = (
        f"Half of the cells are those of {own['carrier']}, as they are"
        if own["way"] == MIXED
        else f"The cells are those of {own['carrier']}, moved to that mean"
    )
    return (
        f" {whose}: these were nearer to the measured cells than control cells that the mean is "
        f"added to ({beside}).{none}"
    )
