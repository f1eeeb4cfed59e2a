"""The screen of a benchmark: read, annotated, divided, prepared and embedded."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import _h5ad, ds, pp
from .._validate import one_of, some
from ._spec import read, refuse_imports

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

    from ._spec import Data, Spec, Split


def screen(
    spec: Spec | Mapping[str, Any] | str | Path,
    *,
    data: str | None = None,
    split: str | None = None,
    trust: bool = False,
) -> AnnData:
    """Return a screen as the models of a benchmark see it, to train another program on.

    Another program enters a benchmark by the file of its prediction. It is trained on the cells
    whose ``obs["split"]`` is ``"train"``, and predicts the conditions of ``"test"``. Those of
    ``"val"``, where there are any, are for choosing settings.

    Parameters
    ----------
    spec
        As for :func:`shoal.benchmark.run`.
    data, split
        Names in the spec; ``None`` where it has one alone.
    trust
        Whether the spec may import code, as for :func:`shoal.benchmark.run`.

    Returns
    -------
    The AnnData: read, annotated, divided into training and test cells, prepared and embedded.

    Raises
    ------
    ValueError
        If a name is not in the spec or there are several, the split is not made for the data set,
        or the spec names code to import and `trust` is False.
    TypeError
        If the spec is of a wrong kind.
    FileNotFoundError
        If the spec or the file of the data set does not exist.

    Examples
    --------
    >>> import shoal as sh
    >>> spec = {
    ...     "data": {
    ...         "simulated": {
    ...             "call": sh.ds.simulate,
    ...             "perturbation_key": "perturbation",
    ...             "control": "control",
    ...             "prepare": {"normalize": "log1p"},
    ...         }
    ...     },
    ...     "splits": {"unseen": {"by": "perturbation", "test": 0.3}},
    ...     "models": ["mean_shift"],
    ... }
    >>> adata = sh.benchmark.screen(spec)
    >>> sorted(adata.obs["split"].unique())
    ['test', 'train']
    """
    spec = read(spec)
    if not trust:
        refuse_imports(spec)
    cells, division = _the_one(spec.data, data, "data"), _the_one(spec.splits, split, "split")
    if cells.name not in division.data:
        msg = (
            f"split={division.name!r} is not made for data {cells.name!r}, but for "
            f"{some(division.data) or 'none'}"
        )
        raise ValueError(msg)
    return prepare(cells, division)


def _the_one(several: tuple[Any, ...], name: str | None, what: str) -> Any:
    """Return the member of a name, or the only one."""
    names = [one.name for one in several]
    if name is None and len(names) > 1:
        plural = {"data": "data sets", "split": "splits"}[what]
        msg = f"the spec has several {plural}: {some(names)}; name one by {what}="
        raise ValueError(msg)
    if name is not None:
        one_of(name, names, name=what)
    return several[0 if name is None else names.index(name)]


def prepare(data: Data, split: Split) -> AnnData:
    """Return a data set as models see it.

    It is read, annotated, divided into training and test, prepared, and its perturbations are
    embedded.
    """
    kind, origin = data.origin
    if kind == "path":
        adata = _h5ad.read(Path(origin), backed=False)
    elif kind == "load":
        adata = ds.load(origin)
    else:
        adata = (_function(origin) if isinstance(origin, str) else origin)()
    if data.annotate:
        pp.annotate(adata, overwrite=True, **data.annotate)
    pp.split(adata, overwrite=True, **split.options)  # what is replaced is in no file
    if data.prepare is not None:
        pp.prepare(adata, overwrite=True, **data.prepare)
    for options in data.embed:
        pp.embed(adata, overwrite=True, **options)
    return adata


def _function(name: str) -> Any:
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)
