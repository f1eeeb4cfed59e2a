"""Simulated screens of counts, with known truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from .._keys import DEPTH
from .._random import spawn
from .._validate import between, flag, listed, positive, whole
from ..core._results import write_table
from ..pp._annotate import annotate
from ._counts import draw_counts, draw_twin
from ._effects import (
    KINDS,
    Effect,
    at_least_0,
    draw_states,
    kinds_of,
    make_effect,
    names_of,
    per_perturbation,
    sparse_vectors,
)
from ._genes import LIBRARY_SD, LIBRARY_SIZE, draw_genes
from ._texts import fill

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._random import RNGLike
    from .._typing import Floats

ROWS = 1_000  # cells drawn at once; a constant, because the draws depend on it


@fill
def simulate(
    *,
    n_perturbations: int = 20,
    n_cells: int | Sequence[int] = 100,
    n_control: int = 500,
    n_genes: int = 500,
    effects: str | Sequence[str] = KINDS,
    effect_size: float | Sequence[float] = 3.0,
    penetrance: float = 0.5,
    dispersion: float = 3.0,
    n_guides: int = 2,
    off_target: float = 0.0,
    n_batches: int = 2,
    batch_effect: float = 0.0,
    depth_effect: float = 0.0,
    doses: Sequence[float] | None = None,
    n_combinations: int = 0,
    interaction: float = 0.0,
    contexts: int | Sequence[str] = 1,
    context_effect: float = 0.5,
    like: str = "K562_Gasperini",
    library_size: float | None = None,
    counterfactual: bool = False,
    rng: RNGLike = 0,
) -> ad.AnnData:
    r"""Simulate a perturbation screen of raw counts, with known truth.

    Counts are negative binomial (gamma-Poisson). Gene g of cell i has

    - the mean :math:`L_i\,\rho_g \exp(c_g + b_g + \delta_{ig})`, with :math:`L` the depth of the
      cell (lognormal), :math:`\rho` the share of the gene in all counts, and :math:`c`, :math:`b`
      and :math:`\delta` the shifts of its context, batch and perturbation;
    - the variance mean + dispersion · mean² / size.

    Expression, sizes and depth are those of real screens.

    Parameters
    ----------
    n_perturbations
        Number of single perturbations.
    n_cells
        Cells of each single perturbation and dose. One number, or one for each perturbation. A
        combination has as many as the first perturbation.
    n_control
        Control cells.
    n_genes
        Genes, spread evenly over the ``4 * n_genes`` most highly expressed genes of the screen
        `like`.
    effects
        {effects}
    effect_size
        Length of the vector of log fold-changes (natural log) of a responding cell. It is spread
        over a tenth of the genes. One number, or one for each perturbation.
    penetrance
        {penetrance}
    dispersion
        Factor on the variance beyond Poisson, at least 1, for the kind ``"dispersion"``.
    n_guides
        Guides of each perturbation and of the controls.
    off_target
        Length of the off-target effect, a vector of log fold-changes in a random direction. The
        cells of the last guide of each perturbation have it.
    n_batches
        Batches. Perturbations are spread over them unequally, controls equally.
    batch_effect
        Standard deviation of the log shifts of genes between batches.
    depth_effect
        Standard deviation of the log of the depth of perturbations, relative to controls.
    doses
        Doses above 0. Every perturbation is simulated at each, with the response
        ``dose / (dose + ec50)``, where ec50 is the geometric mean of the doses. Controls have
        dose 0.
    n_combinations
        Number of pairs ``"A+B"`` of single perturbations. Their log fold-changes add up.
    interaction
        Length of the log fold-changes that a pair has beside the sum of its parts.
    contexts
        Number of cell contexts, or their names. Every population is spread over them equally.
    context_effect
        Standard deviation of the log shifts of genes between contexts.
    like
        Screen whose genes to imitate: ``"K562_Gasperini"``, ``"K562_Ray"`` (a panel of 303),
        ``"A549_Sakellaropoulos"``, ``"THP1_Yao"``, ``"T_CD8_Shifrut"``, ``"iPSC_Tian"`` or
        ``"iPSC_neuron_Tian"``.
    library_size
        Median counts of a cell over the whole transcriptome, of which the simulated genes are a
        part. ``None`` is 17,031, as in the K562 cells of Gasperini.
    counterfactual
        Whether to keep the counts that each cell would have had without its perturbation and its
        off-target effect. They come from the same random numbers. ``X`` does not depend on this.
    rng
        {rng}

    Returns
    -------
    AnnData with raw counts in ``X`` (CSR, float32), controls first, and

    ``layers["counterfactual"]``
        CSR, float32, if asked for. It equals ``X`` in cells that do not respond.
    ``obs``
        - ``perturbation``, ``guide``, ``batch`` (categories);
        - ``dose`` (float) and ``context`` (category), if asked for;
        - ``library_size`` (float): depth over the whole transcriptome;
        - ``total_counts`` (float): sum of the row;
        - ``programme`` (int): 0 for a cell that does not respond, 1 or 2 for the programme that it
          follows, ``3 * a + b`` in a combination;
        - ``responds`` (bool): whether the means of the cell were changed.
    ``var``
        ``relative_expression`` (share of all counts) and ``size`` (float).
    ``uns["truth"]``
        - ``table``, index perturbation, with ``kind``, ``penetrance``, ``dispersion``,
          ``depth_ratio``, ``n_cells`` and ``effect_size`` (root mean square length of the log
          fold-changes of responding cells);
        - ``lfc``, (n_perturbations, n_genes): log of the mean fold-change of the population at a
          response of 1, without off-target effects;
        - ``doses``, if asked for: response at each dose.
    ``uns["shoal"]``
        {design}

    Raises
    ------
    ValueError
        If a number is out of range, or a kind or screen is not known.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate(n_perturbations=5, n_cells=50, counterfactual=True, rng=0)
    >>> truth = adata.uns["truth"]["table"]
    """
    n_perturbations = whole(n_perturbations, name="n_perturbations")
    n_control, n_guides = whole(n_control, name="n_control"), whole(n_guides, name="n_guides")
    n_batches = whole(n_batches, name="n_batches")
    n_genes = whole(n_genes, name="n_genes", least=2)
    n_combinations = whole(n_combinations, name="n_combinations", least=0)
    between(penetrance, 0, 1, name="penetrance", ends=True)
    positive(dispersion, name="dispersion")
    if dispersion < 1:
        msg = f"dispersion must be at least 1, not {dispersion!r}"
        raise ValueError(msg)
    spreads = {"off_target": off_target, "batch_effect": batch_effect, "depth_effect": depth_effect}
    for name, value in {
        **spreads,
        "interaction": interaction,
        "context_effect": context_effect,
    }.items():
        at_least_0(value, name=name)
    most = n_perturbations * (n_perturbations - 1) // 2
    between(n_combinations, 0, most, name="n_combinations", ends=True)
    depth = LIBRARY_SIZE if library_size is None else library_size
    positive(depth, name="library_size")
    response = _responses(doses)
    context_names = _context_names(contexts)
    flag(counterfactual, name="counterfactual")
    kinds = kinds_of(effects, n_perturbations)
    lengths = per_perturbation(effect_size, n_perturbations, name="effect_size")
    cells = per_perturbation(
        n_cells, n_perturbations, name="n_cells", low=1, fraction=False
    ).astype(np.int64)

    gene_rng, effect_rng, design_rng, depth_rng, count_rng, twin_rng = spawn(rng, 6)
    expression, size = draw_genes(like, n_genes, gene_rng)
    made = {
        name: make_effect(
            kind,
            length * sparse_vectors(n_genes, effect_rng),
            penetrance=penetrance,
            dispersion=dispersion,
        )
        for name, kind, length in zip(names_of(n_perturbations), kinds, lengths, strict=True)
    }
    made |= _combinations(made, n_combinations, interaction, effect_rng)
    names = list(made)
    cells = np.concatenate([cells, np.full(n_combinations, cells[0])])
    ratio = np.exp(depth_effect * effect_rng.standard_normal(len(names)))
    stray = off_target * np.stack([sparse_vectors(n_genes, effect_rng)[0] for _ in names])
    context_shift = (
        context_effect
        * gene_rng.standard_normal((len(context_names), n_genes))
        * (len(context_names) > 1)
    )
    batch_shift = batch_effect * gene_rng.standard_normal((n_batches, n_genes))

    draw = _Draw(
        expression,
        size,
        context_shift,
        batch_shift,
        n_guides,
        design_rng,
        depth_rng,
        count_rng,
        twin_rng,
    )
    control = Effect("null", np.zeros((1, n_genes)), np.ones(1))
    drawn = [draw.population(control, n_control, depth, None, counterfactual=counterfactual)]
    labels = [("control", 0.0)]
    for i, name in enumerate(names):
        for dose, reached in response.items():
            effect = made[name].scaled(reached)
            drawn.append(
                draw.population(
                    effect, cells[i], depth * ratio[i], stray[i], counterfactual=counterfactual
                )
            )
            labels.append((name, dose))
    frames = [
        f.assign(perturbation=name, dose=dose)
        for (f, _, _), (name, dose) in zip(drawn, labels, strict=True)
    ]

    x = sparse.vstack([counts for _, counts, _ in drawn], format="csr")
    obs = _labelled(pd.concat(frames, ignore_index=True), names, context_names, n_batches, n_guides)
    optional = {"dose": doses is not None, "context": len(context_names) > 1}
    obs = obs.drop(columns=[key for key, wanted in optional.items() if not wanted])
    obs[DEPTH] = np.asarray(x.sum(axis=1), dtype=np.float64).ravel()
    width = len(str(n_genes))
    genes = pd.Index([f"gene{i:0{width}d}" for i in range(1, n_genes + 1)])
    adata = ad.AnnData(
        x, obs=obs, var=pd.DataFrame({"relative_expression": expression, "size": size}, index=genes)
    )
    if counterfactual:
        adata.layers["counterfactual"] = sparse.vstack(
            [twins for _, _, twins in drawn], format="csr"
        )

    table = pd.DataFrame(
        {
            "kind": [e.kind for e in made.values()],
            "effect_size": [e.size for e in made.values()],
            "penetrance": [e.penetrance for e in made.values()],
            "dispersion": [e.dispersion for e in made.values()],
            "depth_ratio": ratio,
            "n_cells": cells * len(response),
        },
        index=pd.Index(names, name="perturbation"),
    )
    more = {
        "lfc": pd.DataFrame(
            [e.log_mean_fold for e in made.values()], index=table.index, columns=genes
        )
    }
    if doses is not None:
        more["doses"] = pd.DataFrame({"dose": list(response), "response": list(response.values())})
    params = {
        **spreads,
        "interaction": interaction,
        "context_effect": context_effect,
        "like": like,
        "depth": depth,
    }
    write_table(adata, "truth", table, schema="truth/1", params=params, **more)
    keys = {f"{key}_key": key for key, wanted in optional.items() if wanted}
    annotate(adata, "perturbation", control="control", batch_key="batch", guide_key="guide", **keys)
    return adata


def _combinations(
    made: dict[str, Effect], n: int, interaction: float, rng: np.random.Generator
) -> dict[str, Effect]:
    """Return the effects of `n` different pairs, with canonical names."""
    names = list(made)
    left, right = np.triu_indices(len(names), 1)
    chosen = np.sort(rng.choice(len(left), n, replace=False)) if n else []
    pairs = {}
    for i in chosen:
        a, b = names[left[i]], names[right[i]]
        extra = interaction * sparse_vectors(made[a].states.shape[1], rng)[0]
        pairs[f"{a}+{b}"] = made[a].combined(made[b], extra)
    return pairs


def _responses(doses: Sequence[float] | None) -> dict[float, float]:
    """Return the response at each dose; without doses, one full response."""
    if doses is None:
        return {np.nan: 1.0}
    values = np.unique(np.asarray(doses, dtype=np.float64))
    if values.size == 0 or not np.all(np.isfinite(values) & (values > 0)):
        msg = f"doses must be numbers above 0 (controls have dose 0), not {list(doses)!r}"
        raise ValueError(msg)
    ec50 = np.exp(np.log(values).mean())
    return {float(d): float(d / (d + ec50)) for d in values}


def _context_names(contexts: int | Sequence[str]) -> list[str]:
    if isinstance(contexts, (int, float, np.number)):
        contexts = whole(contexts, name="contexts")
        return [f"context{i + 1}" for i in range(contexts)]
    names = listed(contexts, name="contexts")
    if not names or len(set(names)) < len(names):
        msg = f"contexts must be a number or different names, not {contexts!r}"
        raise ValueError(msg)
    return names


@dataclass(frozen=True)
class _Draw:
    """What all populations of a screen share, and the random numbers that they take in turn."""

    expression: Floats
    size: Floats
    context_shift: Floats
    batch_shift: Floats
    n_guides: int
    design_rng: np.random.Generator
    depth_rng: np.random.Generator
    count_rng: np.random.Generator
    twin_rng: np.random.Generator

    def population(
        self, effect: Effect, n: int, depth: float, stray: Floats | None, *, counterfactual: bool
    ) -> tuple[pd.DataFrame, sparse.csr_matrix, sparse.csr_matrix | None]:
        """Return the columns of ``obs`` as codes, the counts, and the counterfactual counts.

        Parameters
        ----------
        effect
            Effect of the perturbation.
        n
            Number of cells.
        depth
            Median depth of a cell.
        stray
            (n_genes,) off-target effect. None for controls.
        counterfactual
            Whether counterfactual counts are drawn.
        """
        cells = self._design(n, unequal=stray is not None)
        library = depth * np.exp(LIBRARY_SD * self.depth_rng.standard_normal(n))
        state = draw_states(effect.shares[None], np.zeros(n, dtype=np.int64), self.design_rng)
        missed = (cells["guide"] == self.n_guides - 1).to_numpy() & (
            stray is not None and bool(np.any(stray))
        )
        counts, twins = [], []
        for start in range(0, n, ROWS):
            rows = slice(start, min(start + ROWS, n))
            base = (
                self.context_shift[cells["context"][rows]] + self.batch_shift[cells["batch"][rows]]
            )
            base = library[rows, None] * self.expression * np.exp(base)
            shift = effect.states[state[rows]]
            if stray is not None:
                shift = shift + missed[rows, None] * stray
            x, gamma, rate = draw_counts(
                base * np.exp(shift), self.size, effect.dispersion, self.count_rng
            )
            counts.append(sparse.csr_matrix(x, dtype=np.float32))
            if counterfactual:
                twin = draw_twin(x, gamma, rate, base, self.size, effect.dispersion, self.twin_rng)
                twins.append(sparse.csr_matrix(twin, dtype=np.float32))
        responds = effect.responds[state]
        cells = cells.assign(
            library_size=library, programme=np.where(responds, state, 0), responds=responds | missed
        )
        return (
            cells,
            sparse.vstack(counts, format="csr"),
            sparse.vstack(twins, format="csr") if twins else None,
        )

    def _design(self, n: int, *, unequal: bool) -> pd.DataFrame:
        """Return guide, batch and context of each cell, in equal numbers unless `unequal`."""
        rng, n_batches = self.design_rng, len(self.batch_shift)
        share = rng.dirichlet(np.full(n_batches, 2.0)) if unequal else None
        return pd.DataFrame(
            {
                "guide": rng.permutation(n) % self.n_guides,
                "batch": rng.permutation(n) % n_batches
                if share is None
                else rng.choice(n_batches, n, p=share),
                "context": rng.permutation(n) % len(self.context_shift),
            }
        )


def _labelled(
    obs: pd.DataFrame, names: list[str], contexts: list[str], n_batches: int, n_guides: int
) -> pd.DataFrame:
    """Turn codes into categories."""
    labels = ["control", *names]
    population = pd.Categorical(obs["perturbation"], categories=labels)
    guides = [f"{label}_g{i + 1}" for label in labels for i in range(n_guides)]
    columns = {
        "perturbation": population,
        "guide": pd.Categorical.from_codes(
            population.codes.astype(np.int64) * n_guides + obs["guide"], guides
        ),
        "batch": pd.Categorical.from_codes(
            obs["batch"], [f"batch{i + 1}" for i in range(n_batches)]
        ),
        "context": pd.Categorical.from_codes(obs["context"], contexts),
    }
    rest = obs[["dose", "library_size", "programme", "responds"]]
    return pd.DataFrame({**columns, **rest}, index=None).set_axis(
        [f"cell{i}" for i in range(len(obs))]
    )
