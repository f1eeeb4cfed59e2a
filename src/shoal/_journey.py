"""The whole way of a screen: measured, split, predicted, judged and reported, in one call."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__, _report
from ._compat import require
from ._evaluation_text import tables
from ._held_out import KEPT, KINDS, check_held_out, check_request, in_words, kind_of
from ._keys import EMBEDDINGS, EVALUATION, PCA, SPLIT
from ._logging import quiet, reason
from ._stages import Stages, content
from ._staging import make_folder, staged
from ._validate import key_in, one_of, whole
from ._verdict import verdict
from .core._screen import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from anndata import AnnData

    Say = Callable[[str], None]

HINT = (
    "without vectors nothing tells perturbations apart that training never sees: name a file with "
    "vectors, or vectors='annotations' for those of human genes that come with shoal"
)
DESIGN = (
    "perturbation_key",
    "control",
    "context_key",
    "batch_key",
    "dose_key",
    "guide_key",
    "gene_key",
    "sep",
    "missing",
)
MIN_CELLS = 20  # of a condition that is judged
NAME = "auto"  # of the prediction
PAGE_NEEDS = ("jinja2", "plotly", "itables")
MODEL, PAGE = "model", "report.html"


@dataclass(frozen=True)
class Journey:
    """What came out.

    Attributes
    ----------
    verdict
        In one sentence: what responds, and whether the prediction beats the reference.
    lines
        What else is to be said, a sentence each.
    files
        Files and folders that were written.
    summary
        The main numbers by name.
    """

    verdict: str
    lines: tuple[str, ...]
    files: tuple[Path, ...]
    summary: dict[str, Any] = field(default_factory=dict)


def run(
    adata: AnnData,
    out: str | Path,
    *,
    preset: str = "fast",
    by: str | None = None,
    test: float | str | Sequence[Any] | None = None,
    accept: Sequence[str] = (),
    embedding: str | None = None,
    measure: _report.Options | None = None,
    evaluate: Mapping[str, Any] | None = None,
    title: str | None = None,
    seed: int = 0,
    overwrite: bool = False,
    say: Say = lambda _: None,
) -> Journey:
    """Measure a screen, predict what is held out of it, judge that, and write a report.

    A stage that is done is recorded in the folder, and an interrupted call goes on from there when
    it is made again.

    Parameters
    ----------
    adata
        Annotated screen in memory. Results are written into it.
    out
        Folder to write into.
    preset
        Preset of the ensemble (``tl.fit(adata, "auto", preset=...)``).
    by, test
        What is held out, and how much of it or which, as in :func:`shoal.pp.split`. If `by` is
        ``None``, the first of `KINDS` of which there are enough. A screen with ``obs["split"]``
        keeps it if both are ``None``.
    accept
        Leaks of the split to accept, as in :func:`shoal.pp.split`.
    embedding
        Vectors of perturbations, by the name that :func:`shoal.pp.embed` gave them.
    measure
        How to measure; its own seed does not count.
    evaluate
        Further arguments of :func:`shoal.tl.evaluate`.
    title
        Heading of the report.
    seed
        Seed of all randomness.
    overwrite
        Whether to begin anew in a folder that holds other work.
    say
        Takes a line about every stage.

    Returns
    -------
    The verdict in words, and the files.

    Raises
    ------
    ImportError
        If the libraries of the report are not installed.
    FileExistsError
        If the folder holds other work, and `overwrite` is not set.
    ValueError
        If nothing of the screen can be held out, or a stage refuses its values.
    IncompleteError
        If some of the tables and pictures could not be written; the others are there.
    """
    from . import models, pp, tl
    from .models.ensemble._members import PRESETS

    for library in PAGE_NEEDS:
        require(library, extra="report")
    out = Path(out)
    seed = whole(seed, name="seed", least=0)
    one_of(preset, tuple(PRESETS), name="preset")
    kind, why = KEPT, f"obs[{SPLIT!r}] is there"
    if by is not None or test is not None or SPLIT not in adata.obs:
        kind, why = (by, "as asked") if by is not None else kind_of(adata)
        check_request(adata, kind, test, seed)
    options = _measured(adata, measure or _report.Options(), seed)
    layer = options.measure.get("layer")
    judged = {
        "baselines": "auto",
        "embedding": embedding,
        "layer": layer,
        "min_cells": options.coherence.get("min_cells", MIN_CELLS),
        **(evaluate or {}),
    }
    arguments = {
        "measure": _depends_on(adata, options),
        "split": {"by": kind, "test": test, "accept": list(accept)},
        "fit": {"preset": preset, "vectors": _digest(adata, embedding)},
        "predict": {},
        "evaluate": judged,
        "report": {"title": title},
    }
    stages = Stages.open(out, arguments, overwrite=overwrite, say=say)
    if stages.result is not None:
        say(f"all is done in {out} already; say overwrite=True to do it anew")
        return _journey(out, stages.result)

    def measured() -> None:
        for err in _report.analyse(adata, options, say).values():
            say(f"warning: controls could not be tested against controls: {reason(err)}")

    def divide() -> None:
        if kind == "perturbation" and embedding is None:
            say(HINT)
        if kind != KEPT:
            pp.split(adata, by=kind, test=test, accept=accept, rng=seed, overwrite=True)
        check_held_out(adata, judged["min_cells"])

    def fit() -> None:
        model = tl.fit(
            adata,
            "auto",
            preset=preset,
            embedding=embedding,
            layer=layer,
            rng=seed,
            checkpoint_dir=stages.scratch / "folds",
            resume=True,
        )
        model.save(out / MODEL, overwrite=True)

    def predict() -> None:
        model = models.load(out / MODEL, adata)
        tl.predict(adata, model, key_added=NAME, subset="test", overwrite=True, rng=seed)

    def report() -> dict[str, Any]:
        with staged(out) as folder:
            failed = _report.write(adata, folder, h5ad=_report.SCREEN, more=_more(adata, title))
            files = [*sorted(path.name for path in folder.iterdir()), MODEL]
        _report.complain(failed, out)
        said = verdict(adata)
        found = {"verdict": said.headline, "lines": said.lines, "files": files}
        return found | {"summary": _report.numbers(adata) | numbers(adata)}

    judge = partial(tl.evaluate, adata, prediction=NAME, rng=seed, overwrite=True, **judged)
    make_folder(out)
    try:
        stages.do("measure", "how large and coherent every response is", adata, measured)
        stages.do("split", f"holding out {KINDS.get(kind, kind)}: {why}", adata, divide)
        say(in_words(adata))
        stages.do("fit", f"the ensemble, preset {preset!r}", adata, fit)
        stages.do("predict", "the cells of what was held out", adata, predict)
        stages.do("evaluate", "beside a second experiment and baselines", adata, judge)
        result = stages.end("report", f"tables, pictures and {PAGE}", report)
    except BaseException:
        stages.clear()
        raise
    return _journey(out, result)


def _journey(out: Path, result: Mapping[str, Any]) -> Journey:
    files = tuple(out / name for name in result["files"])
    return Journey(result["verdict"], tuple(result["lines"]), files, result["summary"])


def _depends_on(adata: AnnData, options: _report.Options) -> dict[str, Any]:
    """Return what the first stage depends on: version, cells, design, and how is measured."""
    screen = resolve(adata)
    plain = {name: getattr(screen, name) for name in DESIGN}
    plain |= {"use_rep": options.use_rep, "n_cells": options.n_cells, "n_draws": options.n_draws}
    plain |= {**options.measure, **options.coherence, "seed": options.seed}
    depth = {"prepare_depth_key": options.prepare.get("depth_key")}
    plain |= {name: value for name, value in options.prepare.items() if name != "depth_key"} | depth
    plain = {name: value for name, value in plain.items() if value is not None}
    cells = f"{adata.n_obs} x {adata.n_vars}, digest {content(adata)}"
    return {"version of shoal": __version__, "cells": cells, **plain}


def _digest(adata: AnnData, embedding: str | None) -> str | None:
    """Return a digest of the vectors of perturbations; ``None`` without any."""
    if embedding is None:
        return None
    key_in(embedding, adata.uns.get(EMBEDDINGS, {}), where=f"adata.uns[{EMBEDDINGS!r}]")
    return sha256(adata.uns[EMBEDDINGS][embedding].to_csv().encode()).hexdigest()[:16]


def _measured(adata: AnnData, given: _report.Options, seed: int) -> _report.Options:
    """Return how to measure; counts are normalised, whatever PCA the file has.

    Raises
    ------
    ValueError
        If that is not possible.
    """
    if given.measure.get("layer") is not None:
        return replace(given, seed=seed)
    found = _report.normalisation(adata)
    if found and given.use_rep not in (None, PCA):
        msg = (
            f"X holds counts, and models learn log-normalised values: leave out "
            f"use_rep={given.use_rep!r}, or normalise first with "
            "sh.pp.prepare(adata, normalize='log1p')"
        )
        raise ValueError(msg)
    return replace(given, prepare={**found, **given.prepare}, seed=seed)


def _more(adata: AnnData, title: str | None) -> dict[str, Callable[[Path], object]]:
    """Return how the files of the evaluation and the page are written, by name."""
    from . import pl, tl

    made: dict[str, Callable[[Path], object]] = {
        f"evaluation_{name}.csv": table.to_csv for name, table in tables(adata).items()
    }
    made["evaluation.png"] = lambda path: _report.save(pl.evaluate(adata).figure, path)
    made["leaderboard.png"] = lambda path: _report.save(pl.leaderboard(adata).figure, path)

    def page(path: Path) -> None:
        with quiet():  # the path is that of a scratch folder
            tl.report(adata, out=path, title=title)

    return made | {PAGE: page}


def numbers(adata: AnnData) -> dict[str, Any]:
    """Return the main numbers of an evaluation by name."""
    params = adata.uns[EVALUATION]["params"]
    names = ("score", "score_low", "score_high", "reference", "n_conditions")
    return {name: params[name] for name in names if name in params}
