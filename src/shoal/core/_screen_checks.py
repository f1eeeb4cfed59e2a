"""What is refused in the columns of a screen, with the call that mends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._validate import key_in, text
from ._combinations import OTHERS, pieces

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from anndata import AnnData


def check_columns(
    adata: AnnData, named: Iterable[tuple[str, str]], *, recorded: bool = False
) -> None:
    """Raise unless columns of ``obs`` exist, once each.

    Parameters
    ----------
    adata
        The screen.
    named
        Pairs of an argument and the column that it names.
    recorded
        Whether the columns other than that of the perturbations come from the record of
        `pp.annotate`, for the message.

    Raises
    ------
    KeyError
        If a column does not exist.
    ValueError
        If several columns have the name.
    """
    columns = adata.obs.columns
    for argument, key in named:
        text(key, name=argument)
        if key not in columns and key in set(map(str, columns)):
            msg = (
                f"adata.obs has the column {key}, whose name is a number: make it text with "
                f"adata.obs.columns = adata.obs.columns.astype(str), then {argument}={key!r}"
            )
            raise KeyError(msg)
        hint = f"(given as {argument})"
        if recorded:
            hint = (
                f"It is recorded as {argument}: call sh.pp.annotate again, with a column that is "
                f"there{'' if argument == 'perturbation_key' else f' or without {argument}='}."
            )
        key_in(key, columns, where="adata.obs", hint=hint)
        n_columns = int((columns == key).sum())
        if n_columns > 1:
            msg = (
                f"adata.obs has {n_columns} columns named {key!r}: keep one, as with adata.obs = "
                "adata.obs.loc[:, ~adata.obs.columns.duplicated()].copy()"
            )
            raise ValueError(msg)


def check_controls(
    key: str,
    labels: Collection[str],
    control: Iterable[str],
    *,
    sep: str,
    has_control: bool,
) -> None:
    """Raise unless every control label occurs, and some cell is a control.

    Parameters
    ----------
    key
        Column of the labels.
    labels
        Labels that occur.
    control
        Control labels. One may occur only as a part of labels.
    sep
        Separator of the parts, ``""`` if there is none.
    has_control
        Whether some label means that a cell is a control.

    Raises
    ------
    KeyError
        If a control label does not occur.
    ValueError
        If all occur, but each beside another perturbation.
    """
    absent = [label for label in control if label not in labels]
    if not absent:
        return
    parts = {part for label in labels for part in pieces(label, sep)}
    missing = [label for label in absent if label not in parts]
    if missing:
        for other in OTHERS:
            joined = sorted(label for label in labels if missing[0] in pieces(label, other))
            if joined and other != sep:
                msg = (
                    f"the control {missing[0]!r} occurs in adata.obs[{key!r}] only as a part of "
                    f"labels, such as {joined[0]!r}: say what joins them, with "
                    f"sh.pp.annotate(adata, {key!r}, control=..., sep={other!r})"
                )
                raise KeyError(msg)
        key_in(
            missing[0],
            sorted(labels),
            where=f"adata.obs[{key!r}]",
            hint="Pass control= with the label(s) of the unperturbed cells.",
        )
    if not has_control:
        example = next(label for label in sorted(labels) if absent[0] in pieces(label, sep))
        msg = (
            f"no cell of adata.obs[{key!r}] is a control: {absent[0]!r} occurs only beside other "
            f"perturbations, as in {example!r}. Name labels of unperturbed cells in control="
        )
        raise ValueError(msg)


def check_missing(key: str, n_missing: int, n_blank: int, n_obs: int) -> None:
    """Raise ``ValueError`` if cells have no label, or a blank one."""
    if not n_missing:
        return
    blank = f" ({n_blank} of them hold blank text)" if n_blank else ""
    labelled = f"adata.obs[{key!r}].notna()"
    if n_blank:
        labelled = f"({labelled} & (adata.obs[{key!r}].astype(str).str.strip() != ''))"
    msg = (
        f"{n_missing} of {n_obs} cells have no label in adata.obs[{key!r}]{blank}: drop them with "
        f"adata = adata[{labelled}].copy(), or leave them out of every group with "
        "sh.pp.annotate(..., missing='ignore')"
    )
    raise ValueError(msg)


def dropped(keys: Iterable[str]) -> str:
    """Return the call that drops the cells without a value in one of several columns."""
    return f"adata = adata[adata.obs[{list(keys)}].notna().all(axis=1)].copy()"


def nothing_perturbed(key: str) -> str:
    """Return the message for a screen of controls only."""
    return f"every cell of adata.obs[{key!r}] is a control; there is no perturbation to measure"
