"""Screen: the frozen description of a perturbation experiment, and the labels it gives to cells."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._keys import SCREEN
from .._validate import key_in, unique_genes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from .._typing import Bools, Ints

EXAMPLE = "sh.pp.annotate(adata, 'perturbation', control='control')"


@dataclass(frozen=True)
class Screen:
    """What the columns of ``adata.obs`` mean.

    Attributes
    ----------
    perturbation_key
        Column of perturbation names; combinations are joined by `sep`.
    control
        Labels of unperturbed cells; they are pooled.
    context_key, batch_key, dose_key, guide_key
        Columns of cell context, technical batch, dose and guide, where the screen has them.
    sep
        Text between the parts of a combination.
    missing
        ``"raise"`` if a missing label is an error, ``"ignore"`` if such cells belong to no group.
    gene_key
        Column of ``adata.var`` with the symbols of genes, by which targets are found.
    """

    perturbation_key: str
    control: tuple[str, ...]
    context_key: str | None = None
    batch_key: str | None = None
    dose_key: str | None = None
    guide_key: str | None = None
    sep: str = "+"
    missing: str = "raise"
    gene_key: str | None = None

    @property
    def columns(self) -> tuple[str | None, ...]:
        """Columns of ``obs`` that describe the experiment; ``None`` for those it does not have."""
        return (
            self.perturbation_key,
            self.context_key,
            self.batch_key,
            self.dose_key,
            self.guide_key,
        )

    def canonical(self, label: str) -> str:
        """Give a combination its one name: parts sorted, repeats and control parts dropped.

        ``"B+A"`` and ``"A+B"`` become ``"A+B"``, ``"A+control"`` becomes ``"A"``. A label with an
        empty part, such as ``"CD4+"``, is no combination and is left as it is.
        """
        if label in self.control:
            return self.control[0]
        several = self._split(label)
        parts = sorted(set(several) - self._no_effect())
        if len(several) > 1:
            return self.sep.join(parts) if parts else self.control[0]
        return label

    def parts(self, name: str) -> tuple[str, ...]:
        """Return the single perturbations of a canonical name; the control has none."""
        return () if name == self.control[0] else tuple(self._split(name))

    def _split(self, label: str) -> list[str]:
        """Return the parts of a label, or the label alone if it is no combination."""
        parts = [p.strip() for p in label.split(self.sep)] if self.sep else [label]
        return parts if all(parts) else [label]

    def _no_effect(self) -> set[str]:
        """Parts that mean no perturbation: control labels; ``"ctrl"`` if ``"ctrl+ctrl"`` is one."""
        doubled = {parts[0] for parts in map(self._split, self.control) if len(set(parts)) == 1}
        return set(self.control) | doubled

    def to_uns(self) -> dict[str, Any]:
        """Return the form stored in ``adata.uns``: no absent keys, and the labels as an array."""
        stored: dict[str, Any] = {k: v for k, v in asdict(self).items() if v is not None}
        stored["control"] = np.array(self.control, dtype=object)
        return stored

    @classmethod
    def from_uns(cls, stored: dict[str, Any]) -> Screen:
        """Read what `to_uns` wrote, also after a round trip through h5ad or zarr.

        Raises
        ------
        ValueError
            If it is something else.
        """
        if not (hasattr(stored, "items") and {"perturbation_key", "control"} <= set(stored)):
            msg = (
                f"adata.uns[{SCREEN!r}] is not what sh.pp.annotate writes; call it again, as in "
                f"{EXAMPLE}"
            )
            raise ValueError(msg)
        known = {f.name for f in fields(cls)}
        values = {k: str(v) for k, v in stored.items() if k in known and k != "control"}
        return cls(control=tuple(str(c) for c in np.atleast_1d(stored["control"])), **values)


@dataclass(frozen=True)
class Labels:
    """The group of every cell.

    Attributes
    ----------
    names
        Canonical names of the perturbations, sorted; the control is not among them.
    code
        (n_obs,) position in `names`, ``len(names)`` for control cells, -1 for cells without a
        label.
    """

    names: pd.Index
    code: Ints

    @property
    def is_control(self) -> Bools:
        """(n_obs,) which cells are controls."""
        found: Bools = self.code == len(self.names)
        return found

    @property
    def counts(self) -> Ints:
        """(n_perturbations,) cells of each perturbation."""
        return np.bincount(self.code[self.code >= 0], minlength=len(self.names) + 1)[:-1]


def resolve(
    adata: AnnData,
    perturbation_key: str | None = None,
    *,
    control: str | Sequence[str] | None = None,
) -> Screen:
    """Return the Screen that a call means: what is given wins over what `pp.annotate` recorded.

    Raises
    ------
    ValueError
        If neither the call nor the record names the column and the control labels.
    KeyError
        If a column is not in ``adata.obs``.
    """
    stored = adata.uns.get(SCREEN)
    recorded = Screen.from_uns(stored) if stored is not None else None
    if recorded is not None and perturbation_key in (None, recorded.perturbation_key):
        screen = recorded if control is None else _replace_control(recorded, control)
    elif perturbation_key is None:
        msg = (
            f"which column holds the perturbations? Call {EXAMPLE} once, or pass "
            "perturbation_key= and control="
        )
        raise ValueError(msg)
    elif control is None:
        key_in(perturbation_key, adata.obs.columns, where="adata.obs")
        seen = [str(v) for v in pd.unique(adata.obs[perturbation_key].dropna())]
        msg = (
            f"which label of {perturbation_key!r} is the control? Pass control=...; no label is "
            "guessed. "
            f"The column holds {', '.join(map(repr, seen[:12]))}{' ...' if len(seen) > 12 else ''}"
        )
        raise ValueError(msg)
    else:
        screen = Screen(perturbation_key, as_labels(control))
    check(adata, screen)
    return screen


def check(adata: AnnData, screen: Screen) -> None:
    """Raise unless the screen can be read.

    Its columns and control labels exist, no label is missing unasked, and every gene has a name of
    its own.
    """
    unique_genes(adata)
    for name in ("perturbation_key", "context_key", "batch_key", "dose_key", "guide_key"):
        key = getattr(screen, name)
        if key is not None:
            key_in(key, adata.obs.columns, where="adata.obs", hint=f"(given as {name})")
    column = adata.obs[screen.perturbation_key]
    present = {str(v) for v in pd.unique(column.dropna())}
    absent = [c for c in screen.control if c not in present]
    if absent:
        key_in(
            absent[0],
            sorted(present),
            where=f"adata.obs[{screen.perturbation_key!r}]",
            hint="Pass control= with the label(s) of the unperturbed cells.",
        )
    n_missing = int(column.isna().sum())
    if n_missing and screen.missing == "raise":
        msg = (
            f"{n_missing} of {adata.n_obs} cells have no label in "
            f"adata.obs[{screen.perturbation_key!r}]: drop them "
            f"with adata = adata[adata.obs[{screen.perturbation_key!r}].notna()].copy(), or "
            "leave them out of every "
            "group with sh.pp.annotate(..., missing='ignore')"
        )
        raise ValueError(msg)


def labels(adata: AnnData, screen: Screen) -> Labels:
    """Return the canonical group of every cell (integer and other labels are read as text)."""
    codes, uniques = pd.factorize(adata.obs[screen.perturbation_key], use_na_sentinel=True)
    canonical = [screen.canonical(str(u)) for u in uniques]
    names = pd.Index(
        sorted(set(canonical) - {screen.control[0]}), name=screen.perturbation_key, dtype=object
    )
    position = {name: i for i, name in enumerate(names)} | {screen.control[0]: len(names)}
    lookup = np.array([position[c] for c in canonical] + [-1], dtype=np.int64)
    return Labels(names=names, code=lookup[codes])


def as_labels(control: object) -> tuple[str, ...]:
    """Turn one control label, or several, into a tuple of texts.

    Raises
    ------
    ValueError
        If there is none.
    """
    several = (
        control
        if isinstance(control, (list, tuple, set, frozenset, np.ndarray, pd.Index))
        else [control]
    )
    found = tuple(dict.fromkeys(str(c) for c in several))
    if not found:
        msg = f"control is empty; name at least one label of the unperturbed cells, as in {EXAMPLE}"
        raise ValueError(msg)
    return found


def _replace_control(screen: Screen, control: object) -> Screen:
    return Screen(**{**asdict(screen), "control": as_labels(control)})
