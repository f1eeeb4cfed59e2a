"""The report of a screen, as one page of HTML."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from .._keys import COHERENCE, EVALUATION, IMAGE_EVALUATION, LEADERBOARD, SCREEN, SPLIT
from .._logging import logger
from .._staging import file_at
from .._validate import get_adata
from ..core._intervals import interval_facts
from ..core._results import read_result
from ..core._screen import labels, resolve
from ..report._build import Content, page, write
from ..report._verdict import in_words
from ._report_cells import cell_content
from ._report_images import image_content

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from anndata import AnnData
    from mudata import MuData

WRITTEN_BY = {
    COHERENCE: "sh.tl.coherence(adata)",
    EVALUATION: "sh.tl.evaluate(adata, prediction=...)",
    LEADERBOARD: "sh.tl.benchmark(...)",
    IMAGE_EVALUATION: "sh.tl.evaluate_images(adata, prediction=..., use_rep=...)",
}
LIBRARIES = ("shoal", "anndata", "numpy", "pandas", "scipy")


def report(
    data: AnnData | MuData,
    *,
    out: str | os.PathLike[str],
    title: str | None = None,
    coherence_key: str | None = None,
    evaluation_key: str | None = None,
    leaderboard_key: str | None = None,
    image_evaluation_key: str | None = None,
    mod: str | None = None,
) -> Path:
    """Write the results on a screen and on a prediction of it as one HTML page that works offline.

    The page begins with a verdict in words. Then it shows, as far as the results are there:

    - the coherence-magnitude plane, in which every perturbation can be pointed at and clicked;
    - the scores of the prediction, its baselines and controls, and a leaderboard;
    - the best and the worst predicted condition with real and predicted cells, and a table of all
      conditions, which can be sorted, searched and saved;
    - predicted images, with small pictures of them;
    - all metrics;
    - folded: strata, what could not be computed and why, parameters and versions.

    Parameters
    ----------
    data
        Screen with the result of :func:`shoal.tl.coherence`, of an evaluation, or both.
    out
        File to write, such as ``"report.html"``; replaced if it exists, as a whole.
    title
        Heading; ``None`` for "Perturbation screen" and the number of perturbations, if it is known.
    coherence_key
        Slot of ``uns`` with the coherence; ``None`` for ``"coherence"``, where it is there.
    evaluation_key
        Slot of ``uns`` with the evaluation; ``None`` for ``"evaluation"``, where it is there.
    leaderboard_key
        Slot of ``uns`` with the leaderboard of a benchmark; ``None`` for ``"leaderboard"``, where
        it is there.
    image_evaluation_key
        Slot of ``uns`` with the evaluation of predicted images; ``None`` for
        ``"image_evaluation"``, where it is there. Pictures are shown if the images are still there.
    mod
        Modality, if `data` is a MuData.

    Returns
    -------
    The path of the page. Nothing is written into `data`.

    Raises
    ------
    KeyError
        If there is no result to report, or none under a key that was given.
    ValueError
        If a result has another layout than this version of shoal reads.
    FileNotFoundError
        If the folder of `out` does not exist.
    IsADirectoryError
        If `out` is a folder.
    TypeError
        If `out` is no path.
    ImportError
        If a library of the extra ``report`` (plotly, itables, Jinja2) is not installed.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate_gaussian(n_perturbations=4, n_cells=50, n_control=200, rng=0)
    >>> sh.tl.coherence(adata, "perturbation", control="control")
    >>> sh.tl.report(adata, out="report.html").name
    'report.html'
    """
    adata = get_adata(data, mod)
    given = {
        COHERENCE: coherence_key,
        EVALUATION: evaluation_key,
        LEADERBOARD: leaderboard_key,
        IMAGE_EVALUATION: image_evaluation_key,
    }
    found = {
        name: entry
        for name, key in given.items()
        if (entry := _entry(adata, name, key)) is not None
    }
    if not found:
        calls = " or ".join(list(WRITTEN_BY.values())[:2])
        msg = (
            f"adata.uns holds neither {COHERENCE!r} nor {EVALUATION!r}, so there is nothing to "
            f"report; call {calls} first"
        )
        raise KeyError(msg)
    path = file_at(out, example="report.html")
    facts = _facts(adata, found)
    results = map(found.get, (COHERENCE, EVALUATION, IMAGE_EVALUATION, LEADERBOARD))
    board = found.get(LEADERBOARD)
    cells, no_cells = ([], "")
    if EVALUATION in found:
        cells, no_cells = cell_content(adata, found[EVALUATION])
    content = Content(
        title=title or _heading(dict(facts)),
        verdict=in_words(*results),
        facts=[*facts, *interval_facts(adata)],
        parameters={
            name: dict(entry["params"]) | {"shoal": entry["version"]}
            for name, entry in found.items()
        }
        | {
            "this page": {"python": platform.python_version()}
            | {name: version(name) for name in LIBRARIES}
        },
        coherence=found.get(COHERENCE),
        evaluation=found.get(EVALUATION),
        leaderboard=None if board is None else board["table"],
        leaderboard_caution="" if board is None else str(board["params"].get("caution", "")),
        cells=cells,
        no_cells=no_cells,
        images=image_content(adata, found[IMAGE_EVALUATION]) if IMAGE_EVALUATION in found else None,
    )
    size = write(page(content), path)
    logger.info("%s: %.1f MB", path, size / 1e6)
    return path


def _heading(facts: dict[str, str]) -> str:
    """Return the title of a page that was given none."""
    n = facts.get("perturbations", "")
    return f"Perturbation screen{n and f', {n} perturbation'}{'s' if n not in ('', '1') else ''}"


def _entry(adata: AnnData, name: str, key: str | None) -> dict[str, Any] | None:
    """Return a result, ``None`` where it is not there and nobody asked for it."""
    if key is None and name not in adata.uns:
        return None
    key = name if key is None else key
    entry = read_result(adata, key, kind=name, written_by=WRITTEN_BY[name])
    if name != LEADERBOARD and entry["schema"] != f"{name}/1":
        msg = (
            f"adata.uns[{key!r}] has the layout {entry['schema']!r}, not '{name}/1'; call "
            f"{WRITTEN_BY[name]} again"
        )
        raise ValueError(msg)
    return entry


def _facts(adata: AnnData, found: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    """Return what the header says about the screen, as (name, value)."""
    facts = [("cells", f"{adata.n_obs:,}"), ("genes or features", f"{adata.n_vars:,}")]
    screen = _screen(adata, found)
    if screen is not None:
        groups = labels(adata, screen)
        facts += [
            ("perturbations", f"{len(groups.names):,}"),
            ("control cells", f"{int(groups.is_control.sum()):,} ({', '.join(screen.control)})"),
        ]
        for name, key in (
            ("contexts", screen.context_key),
            ("batches", screen.batch_key),
            ("doses", screen.dose_key),
        ):
            if key is not None:
                facts.append((f"{name} ({key})", f"{adata.obs[key].nunique():,}"))
    if SPLIT in adata.obs:
        counts = adata.obs[SPLIT].astype(str).value_counts()
        facts.append(("split, cells", ", ".join(f"{name} {n:,}" for name, n in counts.items())))
    return facts


def _screen(adata: AnnData, found: dict[str, dict[str, Any]]) -> Any:
    """Return the screen as it was annotated, or as a result says; ``None`` if neither is known."""
    if SCREEN in adata.uns:
        return resolve(adata)
    for entry in found.values():
        key, control = (
            str(entry["params"].get(name, "")) for name in ("perturbation_key", "control")
        )
        if key in adata.obs and control:
            present = set(adata.obs[key].dropna().astype(str))
            several = [control] if control in present else control.split(",")
            if set(several) <= present:
                return resolve(adata, key, control=several, tell=False)
    return None
