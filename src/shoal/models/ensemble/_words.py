"""What an ensemble says of one of its answers, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._weights import TOGETHER

if TYPE_CHECKING:
    import pandas as pd


def paragraph(name: str, kind: str, rows: pd.DataFrame) -> str:
    """Return who answers for a condition, and how such questions were answered within training.

    Parameters
    ----------
    name
        What is asked for.
    kind
        Kind of question.
    rows
        Rows of ``model.weights`` of that kind.
    """
    members, whole = rows[rows["member"] != TOGETHER], rows[rows["member"] == TOGETHER].iloc[0]
    some = members[members["weight"] > 0].sort_values("weight", ascending=False)
    terms = [f"{w:.2f} x {m}" for m, w in zip(some["member"], some["weight"], strict=True)]
    what = f"{name!r} is {_article(kind)}{kind}."
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
    still = f" The rest, {rest:.2f}, adds nothing." if rest > 0.005 else ""
    alone = ", ".join(
        f"{m} alone {e:.2f}" for m, e in zip(some["member"], some["error"], strict=True) if e == e
    )
    return (
        f"{what} To control cells is added {' + '.join(terms)}, {why}.{still} Within training the "
        f"squared error was {whole['error']:.2f} of that of a copy of the controls ({alone})."
    )


def _article(kind: str) -> str:
    return "a " if kind.startswith("combination") else ""
