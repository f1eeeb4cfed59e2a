"""From a screen to tables and pictures: what the command line does with one AnnData."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _h5ad
from ._keys import COHERENCE, PCA
from ._logging import logger, reason
from ._responses import responses
from ._staging import IncompleteError
from .core._choose import choose
from .core._matrix import as_rows
from .core._scale import look
from .core._screen import labels, resolve

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData
    from matplotlib.figure import Figure

SCREEN = "screen.h5ad"  # the screen with all its results
SIZES = (30, 100, 300)  # cells of a pseudo-perturbation
PREPARE_DEPTH = "prepare_depth_key"  # option for `depth_key` of `pp.prepare`
NULL = f"{COHERENCE}_null"
ALPHA = 0.05


Failures = dict[str, Exception]  # name of a file -> why it is not there


@dataclass(frozen=True)
class Options:
    """How to measure a screen that is annotated.

    Attributes
    ----------
    prepare
        Arguments of `pp.prepare`. They are refused where nothing is prepared.
    measure
        Arguments of `tl.coherence` and of `tl.coherence_null`.
    coherence
        Arguments of `tl.coherence` alone.
    use_rep
        That of both; ``"X_pca"`` if ``None``, unless there is a layer.
    n_cells
        Cells of a pseudo-perturbation; ``None`` for those of 30, 100 and 300 that are at most half
        of the controls.
    n_draws
        Pseudo-perturbations of each size.
    seed
        Seed of both.
    """

    prepare: Mapping[str, Any] = field(default_factory=dict)
    measure: Mapping[str, Any] = field(default_factory=dict)
    coherence: Mapping[str, Any] = field(default_factory=dict)
    use_rep: str | None = None
    n_cells: Sequence[int] | None = None
    n_draws: int = 400
    seed: int = 0


def analyse(adata: AnnData, options: Options, say: Callable[[str], None]) -> Failures:
    """Prepare a screen if needed, measure coherence, and test controls against controls.

    Returns
    -------
    ``{"null.csv": error}`` if the test of the controls failed, which leaves the measurement as it
    is; else nothing.
    """
    from . import tl

    with _naming_options_of_prepare():
        use_rep = _represented(adata, options, say)
    labelled = labels(adata, resolve(adata))
    n_control, n = int(labelled.is_control.sum()), len(labelled.names)
    how = {**options.measure, "use_rep": use_rep, "rng": options.seed}
    say(f"measuring the coherence of {n} perturbations against {n_control:,} controls")
    tl.coherence(adata, **options.coherence, overwrite=True, **how)
    say(_found(adata, asked="replicate_key" in options.coherence))
    try:
        _calibrate(adata, n_control, options, how, say)
    except Exception as err:  # noqa: BLE001 (what was measured is written all the same)
        return {"null.csv": err}
    return {}


def normalisation(adata: AnnData) -> dict[str, Any]:
    """Return the arguments with which `pp.prepare` logs the values; none if they are logged."""
    kind = look(as_rows(choose(adata)[0])).kind
    return {"normalize": "log1p"} if kind in ("counts", "linear") else {}


def _represented(adata: AnnData, options: Options, say: Callable[[str], None]) -> str | None:
    """Return the slot to measure in; make a PCA where there is none. ``None`` for a layer."""
    from . import pp

    if options.measure.get("layer") is not None or options.use_rep not in (None, PCA):
        _refuse_unused(options.prepare, "a layer or another representation")
        return options.use_rep
    _tell_of_counts(adata, say)
    if PCA in adata.obsm and "normalize" not in options.prepare:
        _refuse_unused(options.prepare, f"the {PCA} of the file")
        say(f"using the {PCA} of the file")
        return PCA
    scale = look(as_rows(choose(adata)[0]))
    if scale.kind == "signed" and not options.prepare and options.use_rep is None:
        say(f"X holds {scale.words}: these features are measured as they are")
        return "X"
    how = dict(options.prepare)
    if scale.kind in ("counts", "linear") and "normalize" not in how:
        how["normalize"] = "log1p"
    logged = "log-normalised here" if "normalize" in how else "taken as they are"
    say(f"X holds {scale.words}, {logged}. Preparing: variable genes, PCA fitted on the controls")
    pp.prepare(adata, **how, overwrite=True)
    return PCA


def _tell_of_counts(adata: AnnData, say: Callable[[str], None]) -> None:
    """Say where raw counts or logarithms of them are, if X holds values that were scaled."""
    if adata.X is None or adata.isbacked or look(as_rows(choose(adata)[0])).kind != "signed":
        return
    found = {
        f"adata.X = adata.layers[{name!r}]": adata.layers[name] for name in adata.layers if name
    }
    if adata.raw is not None:
        found["adata = adata.raw.to_adata()"] = adata.raw.X
    for call, matrix in found.items():
        scale = look(as_rows(matrix))
        if scale.kind != "signed":
            say(
                f"warning: X holds values below 0, and beside it are {scale.words}: to work with "
                f"these, write the file anew after {call}"
            )
            return


@contextmanager
def _naming_options_of_prepare() -> Iterator[None]:
    """Name `depth_key` of `pp.prepare` as its option is called: `tl.coherence` has one too."""

    def named(text: object) -> Any:
        return re.sub(r"\bdepth_key\b", PREPARE_DEPTH, text) if isinstance(text, str) else text

    def notice(record: logging.LogRecord) -> bool:
        record.msg = named(record.msg)
        return True

    logger.addFilter(notice)
    try:
        yield
    except Exception as err:
        err.args = tuple(map(named, err.args))
        raise
    finally:
        logger.removeFilter(notice)


def _found(adata: AnnData, *, asked: bool) -> str:
    """Say how many perturbations respond, by cells and by replicates.

    Why nothing can be said by replicates is a warning of `tl.coherence` if it was `asked` for.
    """
    result = adata.uns[COHERENCE]
    table, params = result["table"], result["params"]
    found = responses(table, params, ALPHA)
    text = f"responses at q < {ALPHA}: {(table['qvalue'] < ALPHA).sum()} of {len(table)} by cells"
    if found.unit != "cells":
        return f"{text}, {found.all.sum()} by replicates ({found.unit})"
    if asked or not params["replicate_key"]:
        return text
    return f"{text}; nothing can be said by replicates: {params['replicate_note']}"


def _refuse_unused(prepare: Mapping[str, Any], measured: str) -> None:
    """Raise ``ValueError`` if arguments of `pp.prepare` are given, and nothing is prepared."""
    if prepare:
        several = ", ".join(f"{name}={value!r}" for name, value in prepare.items())
        msg = f"{several}: this is for a PCA that is made here, but {measured} is measured"
        raise ValueError(msg)


def _calibrate(
    adata: AnnData,
    n_control: int,
    options: Options,
    how: dict[str, Any],
    say: Callable[[str], None],
) -> None:
    from . import tl

    by, sizes, n_draws = _control_groups(adata), options.n_cells, options.n_draws
    if sizes is None:
        sizes = [n for n in SIZES if 2 * n <= n_control]
    if not sizes and by is None:
        say(f"no test of controls against controls: {n_control} are too few")
        return
    groups = [] if by is None else [f"each {by}"]
    if sizes:
        numbers = ", ".join(map(str, sizes))
        groups.insert(0, f"{n_draws} random sets each of {numbers} cells")
    say(f"testing controls against controls: {' and '.join(groups)}")
    how = {**how, "n_cells": sizes or SIZES[:1], "n_draws": n_draws}
    try:
        tl.coherence_null(adata, overwrite=True, **how)
    except ValueError as err:
        if sizes:
            raise
        say(f"no test of controls against controls: {err}")


def _control_groups(adata: AnnData) -> str | None:
    """Return the column with groups of control cells: guides or labels; None if there is one."""
    screen = resolve(adata)
    control = adata.obs[labels(adata, screen).is_control]
    for key in (screen.guide_key, screen.perturbation_key):
        if key is not None and control[key].nunique() > 1:
            return key
    return None


def write(
    adata: AnnData,
    folder: Path,
    *,
    h5ad: str | None = None,
    more: Mapping[str, Callable[[Path], object]] = MappingProxyType({}),
) -> Failures:
    """Write the tables and pictures of coherence, of contexts and, if it was tested, of the null.

    Each file is written for itself, so that one that fails does not take the others with it.

    Parameters
    ----------
    adata, folder
        The screen, and where the files go.
    h5ad
        Name of a file for the screen with all its results; ``None`` for none.
    more
        Name -> function of the path that writes it, of further files.

    Returns
    -------
    Name -> error of the files that could not be written.

    Raises
    ------
    Exception
        The first error, if no file could be written.
    """
    from . import pl

    table = adata.uns[COHERENCE]["table"]
    make: dict[str, Callable[[Path], object]] = {
        "coherence.csv": lambda path: table.to_csv(path, index_label="perturbation"),
        "coherence.png": lambda path: save(pl.coherence(adata).figure, path),
        "ranking.png": lambda path: save(pl.ranking(adata).figure, path),
    }
    if "by_context" in adata.uns[COHERENCE]:
        parts = adata.uns[COHERENCE]["by_context"]
        make["contexts.csv"] = lambda path: parts.to_csv(path, index=False)
        make["contexts.png"] = lambda path: save(pl.contexts(adata).figure, path)
    if NULL in adata.uns:
        make["null.csv"] = lambda path: adata.uns[NULL]["rates"].to_csv(path, index=False)
        make["null.png"] = lambda path: save(pl.coherence_null(adata)[0].figure, path)
    make |= more
    if h5ad is not None:
        make[h5ad] = lambda path: _h5ad.write(adata, path)
    failed: Failures = {}
    for name, function in make.items():
        try:
            function(folder / name)
        except Exception as err:  # noqa: BLE001 (the others are written, and the end says which)
            (folder / name).unlink(missing_ok=True)
            failed[name] = err
    if len(failed) == len(make):
        raise next(iter(failed.values()))
    return failed


def complain(failed: Failures, out: Path) -> None:
    """Raise an error that lists the files that are missing, if there are any.

    Raises
    ------
    IncompleteError
        With a reason for each.
    """
    if failed:
        reasons = ", ".join(f"{name} ({reason(err)})" for name, err in failed.items())
        msg = f"not written: {reasons}. All else is in {out}"
        raise IncompleteError(msg) from next(iter(failed.values()))


def save(figure: Figure, path: Path) -> None:
    """Write a figure as a picture, and close it."""
    from matplotlib import pyplot as plt

    figure.savefig(path, dpi=150)
    plt.close(figure)


def numbers(adata: AnnData) -> dict[str, Any]:
    """Return the main numbers of a screen that was measured, for programs."""
    table, params = adata.uns[COHERENCE]["table"], adata.uns[COHERENCE]["params"]
    found = responses(table, params, ALPHA)
    row: dict[str, Any] = {
        "cells": adata.n_obs,
        "features": adata.n_vars,
        "perturbations": len(table),
        "responding": int(found.all.sum()),
        "responding_unit": found.unit,
        "responding_by_cells": int((table["qvalue"] < ALPHA).sum()),
        "less_coherent_than_a_shift": int(_discordant(table).sum()),
    }
    return row | {name.replace(" at ", "_rate_"): rate for name, rate in _null(adata).items()}


def summary(adata: AnnData) -> dict[str, Any]:
    """Return one row of numbers about a screen that was analysed."""
    from scipy.stats import spearmanr

    table = adata.uns[COHERENCE]["table"]

    def rho(a: str, b: str) -> float:
        both = table[[a, b]].dropna()
        return float(spearmanr(both[a], both[b]).statistic) if len(both) > 2 else np.nan

    row: dict[str, Any] = {
        "cells": adata.n_obs,
        "perturbations": len(table),
        "q<0.05": int((table["qvalue"] < ALPHA).sum()),
        "by replicates": _by_replicate(adata),
        "discordant": int(_discordant(table).sum()),
        "rho(r,M) plug-in": rho("coherence_plugin", "magnitude_plugin"),
        "rho(r,M)": rho("coherence", "magnitude"),
    }
    return row | _null(adata)


def _discordant(table: pd.DataFrame) -> pd.Series:
    return (table["residual_qvalue"] < ALPHA) & (table["residual"] < 0)


def _null(adata: AnnData) -> dict[str, float]:
    """Return the share of random sets of controls that are called responses, by level."""
    if NULL not in adata.uns:
        return {}
    rates = adata.uns[NULL]["rates"]
    split = rates[rates["held_out"] == "random split"]
    at = {alpha: split[split["alpha"] == alpha] for alpha in sorted(set(split["alpha"]))[::-1]}
    return {
        f"null at {alpha:g}": float(one["n_rejected"].sum() / one["n_draws"].sum())
        for alpha, one in at.items()
    }


def _by_replicate(adata: AnnData) -> str:
    """Return the number of responses by replicates and the column of these, or "not tested"."""
    result = adata.uns[COHERENCE]
    found = responses(result["table"], result["params"], ALPHA)
    return "not tested" if found.unit == "cells" else f"{found.all.sum()} ({found.unit})"
