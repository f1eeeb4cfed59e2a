"""The whole way of a screen: measured, split, predicted, judged and reported, in one call."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__, _report
from ._evaluation_text import tables
from ._keys import EVALUATION, SPLIT
from ._logging import reason
from ._stages import Stages, content
from ._staging import staged
from ._validate import one_of, some, whole
from ._verdict import verdict as in_words
from .core._choose import choose
from .core._matrix import as_rows
from .core._scale import look
from .core._screen import perturbed_labels, resolve
from .core._split_plan import able_units
from .core._split_request import Request
from .core._split_units import BY, make_items

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from anndata import AnnData

    Say = Callable[[str], None]

STAGES = ("measure", "split", "fit", "predict", "evaluate", "report")
KINDS = {  # what may be held out, in the order of trial, and what that asks
    "combination": "combinations, whose parts are measured alone",
    "perturbation_context": "perturbations in a context, measured in others",
    "dose": "doses of perturbations, measured at other doses",
    "perturbation": "perturbations that training never sees",
    "context": "contexts, known by their controls",
}
ENOUGH = 10  # units of a kind, so that some can be held out and the others learned from
NAME = "auto"  # of the prediction
SCREEN, MODEL, PAGE = "screen.h5ad", "model", "report.html"


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
    embedding: str | None = None,
    measure: _report.Options | None = None,
    evaluate: Mapping[str, Any] | None = None,
    title: str | None = None,
    seed: int = 0,
    overwrite: bool = False,
    say: Say = lambda _: None,
) -> Journey:
    """Measure a screen, predict what is held out of it, judge that, and write a report.

    The stages are `STAGES`. One that is done is recorded in the folder, and an interrupted call
    goes on from there when it is made again.

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
        ``None``, the first of `KINDS` of which there are enough.
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
    FileExistsError
        If the folder holds other work, and `overwrite` is not set.
    ValueError
        If nothing of the screen can be held out, or a stage refuses its values.
    IncompleteError
        If some of the tables and pictures could not be written; the others are there.
    """
    from . import models, pp, tl
    from .models.ensemble._members import PRESETS

    out = Path(out)
    whole(seed, name="seed", least=0)
    one_of(preset, tuple(PRESETS), name="preset")
    kind, why = (by, "as asked") if by is not None else kind_of(adata)
    one_of(kind, tuple(BY), name="by")
    options = _measured(adata, measure or _report.Options(), seed)
    judged = {"baselines": "auto", "embedding": embedding, **(evaluate or {})}
    arguments = {
        "shoal": __version__,
        "screen": f"{adata.n_obs} cells x {adata.n_vars} genes, {content(adata)}",
        "design": {key: value for key, value in resolve(adata).params().items() if value},
        "measure": repr(options),
        "by": kind,
        "test": test if test is None or isinstance(test, (int, float, str)) else list(test),
        "preset": preset,
        "embedding": embedding,
        "evaluate": repr(sorted(judged.items())),
        "title": title,
        "seed": seed,
    }
    stages = Stages.open(out, arguments, n_stages=len(STAGES), overwrite=overwrite, say=say)
    if (result := stages.result) is not None:
        say(f"all is done in {out} already; say overwrite=True to do it anew")
        files = tuple(out / name for name in result["files"])
        return Journey(result["verdict"], tuple(result["lines"]), files, result["summary"])

    def fit() -> None:
        more = {"embedding": embedding, "checkpoint_dir": stages.scratch / "folds", "resume": True}
        model = tl.fit(adata, "auto", preset=preset, rng=seed, **more)
        model.save(out / MODEL, overwrite=True)

    def predict() -> None:
        model = models.load(out / MODEL, adata)
        tl.predict(adata, model, key_added=NAME, subset="test", overwrite=True, rng=seed)

    def measured() -> None:
        for err in _report.analyse(adata, options, say).values():
            say(f"warning: controls could not be tested against controls: {reason(err)}")

    judge = partial(tl.evaluate, adata, prediction=NAME, rng=seed, overwrite=True, **judged)
    divide = partial(pp.split, adata, by=kind, test=test, rng=seed, overwrite=True)
    out.mkdir(parents=True, exist_ok=True)
    try:
        stages.do("measure", "how large and coherent every response is", adata, measured)
        stages.do(
            "split", f"holding out {KINDS.get(kind, kind)} (by={kind!r}: {why})", adata, divide
        )
        say(_held_out(adata))
        stages.do("fit", f"the ensemble, preset {preset!r}", adata, fit)
        stages.do("predict", "the cells of what was held out", adata, predict)
        stages.do("evaluate", "beside a second experiment and all baselines", adata, judge)
        say(f"[{len(STAGES)}/{len(STAGES)}] report: tables, pictures and {PAGE}")
        with staged(out) as folder:
            failed = _report.write(adata, folder, h5ad=SCREEN, more=_more(adata, title))
            files = (*sorted(path.name for path in folder.iterdir()), MODEL)
        _report.complain(failed, out)
    except BaseException:
        stages.clear()
        raise
    verdict, lines = _verdict(adata)
    summary = _report.summary(adata) | _numbers(adata)
    stages.finish({"verdict": verdict, "lines": lines, "files": files, "summary": summary})
    return Journey(verdict, tuple(lines), tuple(out / name for name in files), summary)


def kind_of(adata: AnnData) -> tuple[str, str]:
    """Return what of a screen to hold out, and why: the first of `KINDS` with enough units.

    If there are enough of none, it is the one with most.

    Raises
    ------
    ValueError
        If nothing can be held out.
    """
    screen = resolve(adata, tell=False)
    labelled = perturbed_labels(adata, screen)
    found: dict[str, int] = {}
    for by in KINDS:
        level = BY[by]
        if level is not None and getattr(screen, f"{level}_key") is None:
            continue
        request = Request(by, test=None, val=0, n_folds=None, fold=None, parts_seen=None)
        n = len(able_units(make_items(adata, screen, labelled, by), request))
        found |= {by: n} if n > 1 else {}
        if n >= ENOUGH:
            return by, f"{n} can be held out"
    if not found:
        msg = (
            f"obs[{screen.perturbation_key!r}] holds one perturbation, and no context or dose is "
            "recorded, so nothing can be held out and predicted; sh.tl.coherence(adata) measures it"
        )
        raise ValueError(msg)
    by = max(found, key=lambda one: found[one])
    return by, f"{found[by]} can be held out, which are few"


def _measured(adata: AnnData, given: _report.Options, seed: int) -> _report.Options:
    """Return how to measure: counts are normalised first, and signed features taken as they are."""
    prepare, use_rep = dict(given.prepare), given.use_rep
    kind = look(as_rows(choose(adata)[0])).kind
    if kind in ("counts", "linear"):
        prepare.setdefault("normalize", "log1p")
    elif kind == "signed" and not prepare and not given.measure.get("layer"):
        use_rep = use_rep or "X"
    return replace(given, prepare=prepare, use_rep=use_rep, seed=seed)


def _held_out(adata: AnnData) -> str:
    units = adata.uns[SPLIT]["units"]
    tested = units[units["split"] == "test"]
    columns = tested.drop(columns=["split", "n_cells"]).astype(str)
    names = some([" | ".join(row) for row in columns.to_numpy()], 4)
    return f"held out: {len(tested)} conditions, {int(tested['n_cells'].sum()):,} cells ({names})"


def _more(adata: AnnData, title: str | None) -> dict[str, Callable[[Path], object]]:
    """Return how the files of the evaluation and the page are written, by name."""
    from . import pl, tl

    made: dict[str, Callable[[Path], object]] = {
        f"evaluation_{name}.csv": table.to_csv for name, table in tables(adata).items()
    }
    made["evaluation.png"] = lambda path: _report.save(pl.evaluate(adata).figure, path)
    made["leaderboard.png"] = lambda path: _report.save(pl.leaderboard(adata).figure, path)
    made[PAGE] = lambda path: tl.report(adata, out=path, title=title)
    return made


def _verdict(adata: AnnData) -> tuple[str, list[str]]:
    found = in_words(adata)
    return found.headline, list(found.lines)


def _numbers(adata: AnnData) -> dict[str, Any]:
    params = adata.uns[EVALUATION]["params"]
    names = ("score", "score_low", "score_high", "reference", "n_conditions")
    return {name: params[name] for name in names if name in params}
