"""Score predictions of held-out perturbed cells beside a floor and a copy of the controls; shared by benchmark scripts.

Every held-out condition (perturbation x context x dose) is cut into two halves. The *twins* of the first half are what is
scored, always against the second half: so a prediction, a copy of the controls, and the first half itself (the floor: what
a second experiment would have scored) have the same number of cells, the same batches and the same truth.

Genes that are off in every training cell count in no score: a model cannot know them, and in a small panel they would be most of
what is said of zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from _as_cells import AS_CELLS, called, correlations, counts_of, cycle_sd, cycle_sets, library_sd
from scipy import sparse

import shoal as sh
from shoal.core._controls import Controls
from shoal.core._screen import labels, resolve

if TYPE_CHECKING:
    from pathlib import Path

    import anndata as ad

    from shoal._typing import Bools, Floats, Ints, Matrix
    from shoal.core._screen import Screen

VARIABLE = 200  # most genes whose correlations are compared
LEAST = 20  # cells of a condition; smaller ones are skipped, and counted
SCORES = {
    "energy": "energy distance, unbiased, in a PCA of training cells",
    "mmd": "squared MMD, unbiased, in the same PCA; width: median distance of training cells",
    "w1": "Wasserstein-1 distance, mean over genes",
    "pearson_control": "Pearson correlation of the shift from the control mean of the context, without the target gene",
    "pearson_perturbed": "the same from the control mean plus the mean shift of the training perturbations",
    "variance_ratio": "total variance, predicted / real; geometric mean over conditions",
    "coherence_error": "coherence in the PCA, predicted - real; mean absolute value over conditions",
    "zero_error": "difference in the fraction of zeros, mean over genes",
    **AS_CELLS,
}


@dataclass(frozen=True)
class Condition:
    """One held-out condition: rows of its two halves and of its controls, and what shifts are measured from."""

    name: str
    context: int
    twins: Ints
    real: Ints
    control: Ints
    control_mean: Floats
    perturbed_mean: Floats
    mask: Bools


@dataclass(frozen=True)
class Exam:
    """The held-out conditions of a screen, and the space in which they are compared.

    Attributes
    ----------
    x
        (n_obs, n_genes) real values, log-normalised or signed.
    axes
        (n_genes, k) principal axes of training cells.
    width
        Bandwidth of the MMD.
    conditions
        What is scored.
    skipped
        Conditions of too few cells.
    on
        (n_genes,) genes that some training cell has; the others count in no score.
    variable
        Genes whose correlations are compared, the most variable ones among training cells.
    cycle
        Sets of genes of the cell cycle, among those that are on.
    source
        (n_obs,) for every row that of a control cell of its context and batch.
    """

    x: Matrix
    axes: Floats
    width: float
    conditions: tuple[Condition, ...]
    skipped: int
    on: Bools
    variable: Ints
    cycle: list[Bools]
    source: Ints

    def score(self, layer: Matrix, row: Ints | None = None) -> dict[str, float]:
        """Return the mean scores of a layer of predictions; ``row[i]`` is where the twin of cell i stands, i by default."""
        predicted = [
            _dense(layer[c.twins if row is None else row[c.twins]]) for c in self.conditions
        ]
        table = pd.DataFrame(
            [self._score(c, cells) for c, cells in zip(self.conditions, predicted, strict=True)],
            index=[c.name for c in self.conditions],
        )
        with np.errstate(divide="ignore"):  # a population without spread has ratio 0
            ratio = float(np.exp(np.log(table["variance_ratio"]).mean()))
        return {
            **table.mean().to_dict(),
            "variance_ratio": ratio,
            "coherence_error": float(table["coherence_error"].abs().mean()),
            **counts_of(self._called(predicted), self._called_real),
            "off": int((~self.on).sum()),
            "conditions": len(table),
            "skipped": self.skipped,
        }

    def floor(self) -> dict[str, float]:
        """Return the scores of real cells: the first halves as predictions of the second."""
        return self.score(self.x)

    def control_copy(self) -> dict[str, float]:
        """Return the scores of control cells, passed off as perturbed ones."""
        return self.score(self.x, self.source)

    @property
    def is_expression(self) -> bool:
        """Whether values are log-normalised genes, of which library sizes and zeros can be asked."""
        return bool(self.x.min() >= 0)

    @cached_property
    def _called_real(self) -> Ints:
        """The genes called in the second halves."""
        return self._called([_dense(self.x[c.real]) for c in self.conditions])

    def _called(self, cells: list[Floats]) -> Ints:
        """Return the signs of the genes that a test calls between cells of the conditions and their controls."""
        group = np.unique([c.context for c in self.conditions], return_inverse=True)[1]
        first = [int(np.flatnonzero(group == code)[0]) for code in range(group.max() + 1)]
        controls = [_dense(self.x[self.conditions[i].control])[:, self.on] for i in first]
        return called([own[:, self.on] for own in cells], controls, group)

    def _score(self, condition: Condition, predicted: Floats) -> dict[str, float]:
        real, control = _dense(self.x[condition.real]), _dense(self.x[condition.control])
        low, low_real, low_control = (cells @ self.axes for cells in (predicted, real, control))
        mask, origin, common = (
            values[self.on]
            for values in (condition.mask, condition.control_mean, condition.perturbed_mean)
        )
        variable = predicted[:, self.variable], real[:, self.variable]
        predicted, real = predicted[:, self.on], real[:, self.on]
        means = predicted.mean(axis=0), real.mean(axis=0)
        metrics = sh.metrics
        return {
            "energy": metrics.energy_distance(low, low_real),
            "mmd": metrics.mmd(low, low_real, bandwidth=self.width),
            "w1": metrics.wasserstein_per_gene(predicted, real).mean(),
            "pearson_control": metrics.pearson_delta(*means, reference=origin, mask=mask),
            "pearson_perturbed": metrics.pearson_delta(*means, reference=common, mask=mask),
            "variance_ratio": metrics.variance_ratio(predicted, real),
            "coherence_error": metrics.coherence_error(low, low_real, control=low_control),
            "zero_error": metrics.zero_fraction_error(predicted, real)
            if (real == 0).any()
            else float("nan"),
            "library_sd": library_sd(predicted) if self.is_expression else float("nan"),
            **correlations(*variable),
            "cycle_sd": cycle_sd(predicted, self.cycle),
            "cycle_sd_real": cycle_sd(real, self.cycle),
        }


def exam(
    adata: ad.AnnData,
    *,
    least: int = LEAST,
    by_dose: bool = True,
    seed: int = 0,
    folder: Path | None = None,
) -> Exam:
    """Set the exam of a screen that `pp.annotate`, `pp.split` and `pp.prepare(fit_on="train")` have been called on.

    Parameters
    ----------
    adata
        Screen, values in ``X``.
    least
        Cells below which a condition is skipped.
    by_dose
        Whether the doses of a perturbation are conditions of their own.
    seed
        Seed of the halves and of the control copy.
    folder
        Folder of the data, with the gene sets of the cell cycle; no scores of it without one.
    """
    rng = np.random.default_rng([seed, 20])
    screen = resolve(adata)
    found = labels(adata, screen)
    split = adata.obs["split"].astype(object).to_numpy()
    context = _codes(adata, screen.context_key)
    keys = [found.code, context] + ([_codes(adata, screen.dose_key)] if by_dose else [])
    condition, group = np.unique(np.stack(keys), axis=1, return_inverse=True)
    group = group.ravel()
    perturbed = (found.code >= 0) & ~found.is_control
    control = {code: _controls(found.is_control, context, code) for code in np.unique(context)}
    means = {code: _mean(adata.X, rows) for code, rows in control.items()}
    shifts = _training_shifts(adata.X, group, perturbed & (split == "train"), condition[1], means)

    chosen, skipped = [], 0
    for code in np.unique(group[perturbed & (split == "test")]):
        rows = rng.permutation(np.flatnonzero((group == code) & (split == "test")))
        if len(rows) < least:
            skipped += 1
            continue
        name, here = found.names[condition[0, code]], condition[1, code]
        told = [
            adata.obs[key].iloc[rows[0]]
            for key in (screen.context_key, screen.dose_key if by_dose else None)
            if key
        ]
        chosen.append(
            Condition(
                name=" | ".join(map(str, [name, *told])),
                context=int(here),
                twins=rows[: len(rows) // 2],
                real=rows[len(rows) // 2 :],
                control=control[here],
                control_mean=means[here],
                perturbed_mean=means[here] + shifts.get(here, shifts[None]),
                mask=~adata.var_names.isin(screen.parts(name)),
            )
        )
    if not chosen:
        msg = f"all {skipped} held-out conditions have fewer than {least} cells; nothing can be scored"
        raise ValueError(msg)
    axes = np.asarray(adata.varm["PCs"], dtype=np.float64)
    training = np.flatnonzero(split == "train")
    some = rng.choice(training, min(len(training), 2000), replace=False)
    on = np.asarray((adata.X[training] != 0).sum(axis=0)).ravel() > 0
    spread = _variances(adata.X[training])
    return Exam(
        x=adata.X,
        axes=axes,
        width=sh.metrics.median_bandwidth(_dense(adata.X[some]) @ axes),
        conditions=tuple(chosen),
        skipped=skipped,
        on=on,
        variable=np.sort(np.argsort(-spread, kind="stable")[: min(VARIABLE, int(on.sum()))]),
        cycle=[] if folder is None else cycle_sets(adata.var_names[on], folder),
        source=_sources(adata, screen, found.is_control, context, rng),
    )


def _training_shifts(
    x: Matrix, group: Ints, train: Bools, context: Ints, means: dict[int, Floats]
) -> dict[int | None, Floats]:
    """Return the mean shift over training conditions in each context that has some, and over all (key ``None``)."""
    several = {
        code: _mean(x, np.flatnonzero(train & (group == code))) for code in np.unique(group[train])
    }
    shift = {code: mean - means[context[code]] for code, mean in several.items()}
    within = {here: [s for code, s in shift.items() if context[code] == here] for here in means}
    return {here: np.mean(s, axis=0) for here, s in within.items() if s} | {
        None: np.mean(list(shift.values()), axis=0)
    }


def _sources(
    adata: ad.AnnData, screen: Screen, is_control: Bools, context: Ints, rng: np.random.Generator
) -> Ints:
    batch, at = _codes(adata, screen.batch_key), np.flatnonzero(is_control)
    return Controls(cells=at, context=context[at], batch=batch[at]).draw(context, batch, rng)[0]


def _controls(is_control: Bools, context: Ints, code: int) -> Ints:
    """Return the control cells of a context, or all where it has none."""
    own = np.flatnonzero(is_control & (context == code))
    return own if len(own) > 1 else np.flatnonzero(is_control)


def _codes(adata: ad.AnnData, key: str | None) -> Ints:
    return (
        np.zeros(adata.n_obs, dtype=np.int64)
        if key is None
        else pd.factorize(adata.obs[key], sort=True)[0]
    )


def _mean(x: Matrix, rows: Ints) -> Floats:
    return np.asarray(x[rows].mean(axis=0, dtype=np.float64)).ravel()


def _variances(x: Matrix) -> Floats:
    square = x.multiply(x) if sparse.issparse(x) else x**2
    mean = np.asarray(x.mean(axis=0, dtype=np.float64)).ravel()
    return np.asarray(square.mean(axis=0, dtype=np.float64)).ravel() - mean**2


def _dense(values: Matrix) -> Floats:
    return np.asarray(values.toarray() if sparse.issparse(values) else values, dtype=np.float64)
