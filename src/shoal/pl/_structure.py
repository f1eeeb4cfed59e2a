"""Panels that say whether predicted cells are built as real ones: libraries, zeros and so on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..core._gene_sets import read_gene_sets
from ..metrics._dependence import library_sizes, program_scores
from ..metrics._shape import correlations_of, varying
from ._panels import draw_steps
from ._style import INK, PREDICTED, QUIET, shorten, tidy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from matplotlib.axes import Axes

    from .._typing import Bools, Floats, Ints
    from ..core._gene_names import GeneNames
    from ..core._gene_sets import GeneSets

PANELS = 3  # beside one a gene set
MOST_SETS = 6
MOST_GENES = 100  # whose correlations are drawn
MOST_PAIRS = 2000  # points
MOST_CELLS = 1000  # of each kind


@dataclass(frozen=True)
class Built:
    """The genes of three populations: (n, n_genes) log-normalised values of each."""

    control: Floats
    real: Floats
    predicted: Floats

    @property
    def kinds(self) -> tuple[Floats, Floats, Floats]:
        """All three, in the order in which they are drawn."""
        return self.control, self.real, self.predicted


def sets_of(gene_sets: GeneSets | None, called: GeneNames) -> dict[str, Bools]:
    """Return which genes of a screen each set holds.

    Raises
    ------
    ValueError
        If there are too many sets to draw, or none of the genes of a set is in the screen.
    """
    asked: Mapping[str, Sequence[str]] = {} if gene_sets is None else read_gene_sets(gene_sets)
    if len(asked) > MOST_SETS:
        msg = f"{len(asked)} gene sets do not fit into one picture; pass at most {MOST_SETS}"
        raise ValueError(msg)
    found: dict[str, Bools] = {}
    for name, genes in asked.items():
        here = np.isin(np.asarray(called.names, dtype=object), called.of(genes))
        if not here.any():
            msg = f"none of the {len(genes)} genes of the set {name!r} is in {called.words}"
            raise ValueError(msg)
        found[name] = here
    return found


def draw_structure(
    axes: Sequence[Axes],
    built: Built,
    sets: Mapping[str, Bools],
    prediction: str,
    *,
    rng: np.random.Generator,
) -> None:
    """Draw one panel for library sizes, zeros, correlations, and one for every gene set."""
    _libraries(axes[0], built, prediction)
    _zeros(axes[1], built, prediction)
    _correlations(axes[2], built, prediction, rng)
    for ax, (name, inside) in zip(axes[PANELS:], sets.items(), strict=True):
        scores = [program_scores(cells, inside) for cells in built.kinds]
        spread = _both(scores, lambda values: float(np.std(values, ddof=1)))
        draw_steps(ax, _labelled(scores, prediction))
        score = f"score by {int(inside.sum())} genes"
        _entitle(ax, shorten(name), f"SD {spread}", x=score, y="share of cells")
        ax.locator_params(axis="x", nbins=4)


def _libraries(ax: Axes, built: Built, prediction: str) -> None:
    """Draw cumulative distributions of the library sizes, relative to the median of real cells."""
    sizes = [library_sizes(cells) for cells in built.kinds]
    unit = np.median(sizes[1])
    sizes = [size / (unit if unit > 0 else 1.0) for size in sizes]
    draw_steps(ax, _labelled(sizes, prediction))
    low, high = ax.get_xlim()
    if high - low < 0.1:  # cells of one library size are one step
        ax.set_xlim(0.9, 1.1)
    spread = _both(sizes, lambda size: float(np.std(np.log(size[size > 0]), ddof=1)))
    _entitle(
        ax,
        "library sizes",
        f"SD of the log {spread}",
        x="library size / median of real cells",
        y="share of cells",
    )


def _zeros(ax: Axes, built: Built, prediction: str) -> None:
    """Draw the share of zeros of every gene that is not off everywhere."""
    shares = np.array([(cells <= 0).mean(axis=0) for cells in built.kinds])
    control, real, predicted = shares[:, (shares < 1).any(axis=0)]
    look = {"s": 8, "linewidths": 0, "alpha": 0.5}
    ax.scatter(real, control, c=QUIET, label="control", **look)
    ax.scatter(real, predicted, c=PREDICTED, marker="^", label=shorten(prediction), **look)
    ax.axline((0, 0), slope=1, color=INK, lw=0.8, zorder=0)
    ax.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    errors = (f"{np.abs(share - real).mean():.3f}" for share in (predicted, control))
    about = "mean error {}, of controls {}".format(*errors)
    _entitle(
        ax, "zeros, gene by gene", about, x="share of zeros, real", y="share of zeros, predicted"
    )


def _correlations(ax: Axes, built: Built, prediction: str, rng: np.random.Generator) -> None:
    """Draw the correlations between the genes that vary most in real and control cells."""
    names = {"x": "correlation, real", "y": "correlation, predicted"}
    genes = _variable(np.concatenate([built.control, built.real]))
    genes = genes[varying(built.real[:, genes])]
    if len(genes) < 2 or min(len(built.real), len(built.predicted)) < 3:
        _entitle(ax, "correlations", "too few cells or genes", **names)
        return
    pairs = np.triu_indices(len(genes), k=1)
    found = [
        correlations_of(cells[:, genes].astype(np.float64))
        for cells in (built.real, built.predicted)
    ]
    (real, predicted) = (r[pairs] for r, _ in found)
    square = [float(np.mean((r**2 - v)[pairs])) for r, v in found]
    some = np.arange(len(real))
    if len(some) > MOST_PAIRS:
        some = np.sort(rng.choice(len(some), MOST_PAIRS, replace=False))
    ax.axline((0, 0), slope=1, color=INK, lw=0.8, zorder=0)
    ax.scatter(real[some], predicted[some], s=6, c=PREDICTED, marker="^", linewidths=0, alpha=0.35)
    reach = 1.05 * max(np.abs(real).max(), np.abs(predicted).max())
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach))
    about = _two("mean square", *square, digits=3)
    _entitle(ax, f"correlations of {len(genes)} genes", about, **names)


def _variable(cells: Floats) -> Ints:
    """Return the genes that vary most."""
    return np.sort(np.argsort(-cells.var(axis=0, dtype=np.float64), kind="stable")[:MOST_GENES])


def _labelled(values: Sequence[Floats], prediction: str) -> list[tuple[str, Floats]]:
    return list(zip(("control", "real", prediction), values, strict=True))


def _both(values: Sequence[Floats], statistic: Callable[[Floats], float]) -> str:
    """Say a statistic of real and of predicted cells."""
    _, real, predicted = values
    return _two("", statistic(real), statistic(predicted), digits=2)


def _two(what: str, real: float, predicted: float, *, digits: int) -> str:
    numbers = (f"{value:.{digits}f}".replace("-", "−") for value in (real, predicted))
    return f"{what} real {{}}, predicted {{}}".format(*numbers).strip()


def _entitle(ax: Axes, title: str, about: str, *, x: str, y: str) -> None:
    ax.set_title(f"{title}\n{about}", loc="left", fontsize="small", color=INK)
    ax.set_xlabel(x, fontsize="small")
    ax.set_ylabel(y, fontsize="small")
    tidy(ax)
