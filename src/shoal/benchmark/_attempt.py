"""One attempt: prepare a data set, train a model on its training cells, predict its test cells, and have that judged."""

from __future__ import annotations

import platform
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from .. import ds, pp, tl
from .._logging import logger
from ..models.base._registry import model_class
from ._meter import Meter

if TYPE_CHECKING:
    from anndata import AnnData

    from ._judge import Judge
    from ._rows import Row
    from ._spec import Data, Model, Split

LIBRARIES = {
    "baseline": ("shoal", "anndata", "numpy", "scipy"),
    "model": ("torch", "lightning", "scvi-tools"),
}
KEY = "_benchmark"  # layer of an attempt; it is never in a user's AnnData


def prepare(data: Data, split: Split) -> AnnData:
    """Read a data set, say what its columns mean, divide it, prepare it and embed its perturbations."""
    kind, source = data.source
    if kind == "path":
        from anndata import read_h5ad

        adata = read_h5ad(source)
    elif kind == "load":
        adata = ds.load(source)
    else:
        adata = (_function(source) if isinstance(source, str) else source)()
    if data.annotate:
        pp.annotate(adata, **data.annotate)
    pp.split(adata, **split.options)
    if data.prepare is not None:
        pp.prepare(adata, **data.prepare)
    for options in data.embed:
        pp.embed(adata, **options)
    return adata


def attempt(adata: AnnData, row: Row, model: Model, judge: Judge) -> Row:
    """Return the row with its result, or with the reason why there is none; `adata` is not changed."""
    work = shallow(adata)
    layer = {} if judge.real_layer is None else {"layer": judge.real_layer}
    try:
        model_class(model.model)  # imports what it needs, which is not part of training
        meter = Meter()
        trained = tl.fit(work, model.model, rng=row.seed, **(layer | dict(model.options)))
        fitted = meter.seconds
        tl.predict(work, trained, key_added=KEY, subset="test", rng=row.seed, **model.predict)
        known = trained.vocabulary.transductive
        cost = {
            "seconds_fit": fitted,
            "seconds_predict": meter.seconds - fitted,
            "peak_mb": meter.peak_mb,
        }
        meter = Meter()
        found = judge.judge(work, row.model, KEY)
    except Exception as err:  # noqa: BLE001 (others go on, and the row says what it was)
        logger.warning(
            "%s on %s, %s, seed %d failed: %s",
            row.model,
            row.data,
            row.split,
            row.seed,
            reason(err),
        )
        return failed(row, reason(err))
    return replace(
        row,
        transductive=known,
        **cost,
        **found,
        seconds_evaluate=meter.seconds,
        versions=versions(row.kind),
    )


def failed(row: Row, note: str) -> Row:
    """Return the row of an attempt without result."""
    return replace(row, note=note, versions=versions(row.kind))


def reason(err: BaseException) -> str:
    """Return an error in one line."""
    text = str(err.args[0]) if isinstance(err, KeyError) and err.args else str(err)
    return f"{type(err).__name__}: {' '.join(text.split())}"


def versions(kind: str) -> dict[str, str]:
    """Return the versions that a result depends on."""
    found = {"python": platform.python_version()}
    for name in (*LIBRARIES["baseline"], *(LIBRARIES["model"] if kind == "model" else ())):
        with suppress(PackageNotFoundError):  # a model of one's own need not have them
            found[name] = version(name)
    return found


def _function(name: str) -> Any:
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)


def shallow(adata: AnnData) -> AnnData:
    """Return an AnnData with the same matrices, into which can be written without the first one's noticing."""
    from anndata import AnnData

    aligned = {
        name: dict(getattr(adata, name)) for name in ("obsm", "varm", "obsp", "varp", "layers")
    }
    aligned["layers"].pop(None, None)  # newer versions of anndata list X there
    return AnnData(
        adata.X, obs=adata.obs.copy(), var=adata.var.copy(), uns=dict(adata.uns), **aligned
    )
