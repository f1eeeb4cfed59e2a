"""Screen: the frozen description of a perturbation experiment, and the labels it gives to cells."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._keys import SCREEN
from .._logging import logger
from .._validate import unique_genes, without_axes
from ._combinations import PLUS, as_text
from ._label_notices import tell_few_controls, tell_of_labels
from ._names import Names
from ._screen_checks import check_columns, check_controls, check_missing, nothing_perturbed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from .._typing import Bools, Ints

EXAMPLE = "sh.pp.annotate(adata, 'perturbation', control='control')"
KEYS = ("context_key", "batch_key", "dose_key", "guide_key")


@dataclass(frozen=True)
class Screen:
    """What the columns of ``adata.obs`` mean, and how the labels are read.

    Attributes
    ----------
    perturbation_key
        Column of perturbation names; combinations are joined by `sep`.
    control
        Labels of unperturbed cells; they are pooled.
    context_key, batch_key, dose_key, guide_key
        Columns of cell context, technical batch, dose and guide, where the screen has them.
    sep
        Text between the parts of a combination; ``""`` if there are none. ``"auto"`` is ``"+"``,
        but only where the parts are known as single perturbations.
    missing
        ``"raise"`` if a missing label is an error, ``"ignore"`` if such cells belong to no group.
    gene_key
        Column of ``adata.var`` with the symbols of genes, by which targets are found.
    singles, written
        What the labels tell of names, see `Names`.
    """

    perturbation_key: str
    control: tuple[str, ...]
    context_key: str | None = None
    batch_key: str | None = None
    dose_key: str | None = None
    guide_key: str | None = None
    sep: str = "auto"
    missing: str = "raise"
    gene_key: str | None = None
    singles: tuple[str, ...] = ()
    written: tuple[str, ...] = ()

    @cached_property
    def names(self) -> Names:
        """How the labels are read."""
        return Names(self.control, self.sep, self.singles, self.written)

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
        """Return the name of the perturbation that a label means, see `Names.canonical`."""
        return self.names.canonical(label)

    def parts(self, name: str) -> tuple[str, ...]:
        """Return the single perturbations of a perturbation, sorted; the control has none."""
        return self.names.parts(name)

    def alone(self, name: str) -> tuple[str, ...]:
        """Return the names of the perturbations that are the parts of one alone."""
        return self.names.alone(name)

    def having(self, names: Names) -> Screen:
        """Return the screen with labels that are read in another way."""
        return replace(self, singles=names.singles, written=names.written)

    def params(self) -> dict[str, Any]:
        """Return what the parameters of a result say of the screen."""
        used = ("perturbation_key", "control", "context_key", "batch_key")
        return {name: getattr(self, name) for name in used}

    def to_uns(self) -> dict[str, Any]:
        """Return the form stored in ``adata.uns``: no absent keys, and labels as arrays.

        Single perturbations are stored where some label holds the separator. Other screens need no
        such list.
        """
        stored: dict[str, Any] = {k: v for k, v in asdict(self).items() if v not in (None, ())}
        if not any(PLUS in name for name in (*self.singles, *self.written)):
            stored.pop("singles", None)
        for name in ("control", "singles", "written"):
            if name in stored:
                stored[name] = np.array(stored[name], dtype=object)
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
        several = {
            name: tuple(str(label) for label in np.atleast_1d(stored[name]))
            for name in ("control", "singles", "written")
            if name in stored
        }
        one = {k: str(v) for k, v in stored.items() if k in known and k not in several}
        return cls(**one, **several)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Labels:
    """The group of every cell.

    Attributes
    ----------
    names
        Names of the perturbations, in the order of `Names.sorted_name`; the control is not among
        them.
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
    tell: bool = True,
) -> Screen:
    """Return the Screen that a call means: what is given wins over what `pp.annotate` recorded.

    The recorded context, batch, dose and guide stay in force for any column of perturbations. One
    of them that is the named column itself is left out.

    Parameters
    ----------
    adata
        The screen.
    perturbation_key, control
        Column and control labels, where the call names them.
    tell
        Whether to log what is to be known of a column that was not annotated. False for a second
        look within one call.

    Raises
    ------
    ValueError
        If neither the call nor the record names the column and the control labels, if a label is
        missing unasked, or if no cell is a control.
    KeyError
        If a column is not in ``adata.obs``, or a control label not in the column.
    """
    stored = adata.uns.get(SCREEN)
    recorded = Screen.from_uns(stored) if stored is not None else None
    key = None if perturbation_key is None else str(perturbation_key)
    if recorded is not None and key in (None, recorded.perturbation_key):
        screen = recorded
        if control is not None:
            screen = replace(recorded, control=as_labels(control), written=())
        return read(adata, screen, recorded=True)
    if key is None:
        msg = (
            f"which column holds the perturbations? Call {EXAMPLE} once, or pass "
            "perturbation_key= and control= where a function takes them"
        )
        raise ValueError(msg)
    check_columns(adata, [("perturbation_key", key)])
    if control is None:
        seen = [as_text(v) for v in pd.unique(adata.obs[key].dropna())]
        msg = (
            f"which label of {key!r} is the control? Pass control=...; no label is guessed. "
            f"The column holds {', '.join(map(repr, seen[:12]))}{' ...' if len(seen) > 12 else ''}"
        )
        raise ValueError(msg)
    if recorded is None:
        return read(adata, Screen(key, as_labels(control)), tell=tell)
    others = {name: getattr(recorded, name) for name in KEYS}
    itself = [name for name, column in others.items() if column == key]
    others |= dict.fromkeys(itself)
    screen = Screen(key, as_labels(control), **others, missing=recorded.missing)
    screen = replace(screen, gene_key=recorded.gene_key)
    screen = read(adata, screen, tell=tell, recorded=True)
    if tell:
        _tell_of_keys(screen, itself)
    return screen


def read(adata: AnnData, screen: Screen, *, tell: bool = False, recorded: bool = False) -> Screen:
    """Return a screen with what its labels tell, after checking its columns and its controls.

    Parameters
    ----------
    adata
        Cells of the screen.
    screen
        Its columns and control labels.
    tell
        Whether to log what is odd about the labels.
    recorded
        Whether the other columns come from the record of `pp.annotate`, for the message.

    Raises
    ------
    KeyError
        If a column does not exist, or a control label does not occur.
    ValueError
        If a column or the name of a gene is there twice, if labels are missing unasked, or if no
        cell is a control.
    """
    unique_genes(adata)
    named = [("perturbation_key", screen.perturbation_key)]
    named += [(name, key) for name in KEYS if (key := getattr(screen, name)) is not None]
    check_columns(adata, named, recorded=recorded)
    key, control = screen.perturbation_key, screen.control
    raw = raw_counts(adata.obs[key])
    counts: dict[str, int] = {}
    for label, n in raw.items():
        counts[as_text(label)] = counts.get(as_text(label), 0) + n
    n_blank = 0 if "" in control else counts.pop("", 0)
    screen = screen.having(screen.names.reading(counts))
    has_control = any(screen.canonical(label) == control[0] for label in counts)
    check_controls(key, counts, control, sep=screen.names.separator, has_control=has_control)
    if tell:
        tell_of_labels(
            raw,
            key=key,
            control=control,
            sep=screen.sep,
            name_of=screen.canonical,
            parts_of=screen.parts,
        )
        tell_few_controls(sum(n for label, n in counts.items() if not screen.parts(label)))
    if screen.missing == "raise":
        check_missing(key, adata.n_obs - sum(counts.values()), n_blank, adata.n_obs)
    return screen


def raw_counts(column: pd.Series) -> dict[str, int]:
    """Return label -> number of its cells, with the blanks that the labels have."""
    found: dict[str, int] = {}
    for value, n in column.value_counts(dropna=True, sort=False).items():
        text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        if n:  # an unused category has no cell
            found[text] = found.get(text, 0) + int(n)
    return found


def labels(adata: AnnData, screen: Screen) -> Labels:
    """Return the group of every cell (integer and other labels are read as text)."""
    codes, uniques = pd.factorize(adata.obs[screen.perturbation_key], use_na_sentinel=True)
    texts = [as_text(value) for value in uniques]
    is_missing = "" not in screen.control  # a blank label
    found = [None if is_missing and not text else screen.canonical(text) for text in texts]
    control = screen.control[0]
    names = pd.Index(
        sorted(
            {name for name in found if name is not None} - {control}, key=screen.names.sorted_name
        ),
        name=screen.perturbation_key,
        dtype=object,
    )
    position: dict[str | None, int] = {name: i for i, name in enumerate(names)}
    position |= {control: len(names), None: -1}
    lookup = np.array([*(position[name] for name in found), -1], dtype=np.int64)
    return Labels(names=names, code=lookup[codes])


def perturbed_labels(adata: AnnData, screen: Screen) -> Labels:
    """Return the group of every cell of a screen that must hold perturbations.

    Raises
    ------
    ValueError
        If every cell is a control.
    """
    labelled = labels(adata, screen)
    if len(labelled.names) == 0:
        raise ValueError(nothing_perturbed(screen.perturbation_key))
    return labelled


def as_labels(control: object) -> tuple[str, ...]:
    """Turn one control label, or several, into a tuple of texts.

    Raises
    ------
    ValueError
        If there is none, or one is a missing value.
    """
    control = without_axes(control)
    several: list[Any] = [control]
    if isinstance(control, Iterable) and not isinstance(control, (str, bytes)):
        several = list(control)
    if any(label is None or label is pd.NA or label != label for label in several):
        msg = (
            "control names a missing value, and a control needs a label: give these cells one, as "
            "in adata.obs[column] = adata.obs[column].astype(object).fillna('control')"
        )
        raise ValueError(msg)
    found = tuple(dict.fromkeys(map(as_text, several)))
    if isinstance(control, (set, frozenset)):  # in an order that is the same in every process
        found = tuple(sorted(found))
    if not found:
        msg = f"control is empty; name at least one label of the unperturbed cells, as in {EXAMPLE}"
        raise ValueError(msg)
    return found


def of_result(adata: AnnData, params: Mapping[str, Any]) -> Screen:
    """Return the screen that a result was computed on, from its parameters.

    Raises
    ------
    KeyError
        If its column or a control label is no longer there.
    """
    key, control = str(params["perturbation_key"]), str(params["control"])
    stored = adata.uns.get(SCREEN)
    if stored is not None:
        recorded = Screen.from_uns(stored)
        if recorded.perturbation_key == key and ",".join(recorded.control) == control:
            return resolve(adata)
    check_columns(adata, [("perturbation_key", key)])
    present = raw_counts(adata.obs[key])
    several = [control] if control in present else control.split(",")
    return resolve(adata, key, control=several, tell=False)


def _tell_of_keys(screen: Screen, itself: Sequence[str]) -> None:
    """Log which recorded columns hold for a column that was not annotated."""
    used = [
        f"{name.removesuffix('_key')} {getattr(screen, name)!r}"
        for name in KEYS
        if getattr(screen, name) is not None
    ]
    if not used and not itself:
        return
    left = "".join(f"; the recorded {name} is this column and is left out" for name in itself)
    logger.warning(
        "obs[%r] is not the annotated column; what sh.pp.annotate recorded holds for it too: %s%s",
        screen.perturbation_key,
        ", ".join(used) or "nothing",
        left,
    )
