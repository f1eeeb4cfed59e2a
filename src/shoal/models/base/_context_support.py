"""Whether training contexts respond as their vectors say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..._logging import logger
from ...core._codes import grouped, members
from ...core._population import SPLITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._typing import Floats, Ints
    from ...core._population import Population
    from ._vocabulary import Vocabulary

LEAST_CONTEXTS = 3  # of training, so that a line through the others is there when one is left out
RIDGE = 0.1  # of the sum of squares of coordinates, which have a mean square of about 1
MOST_SETS = 8  # sets of contexts that conditions were measured in; the commonest
N_DEALT = 199  # times that coordinates are dealt to the contexts anew
CHANCE = 0.05


@dataclass(frozen=True)
class Support:
    """How far training contexts, each left out in turn, respond as their vectors say.

    Attributes
    ----------
    share
        Share of the differences between responses that the vectors of the other contexts let
        expect: about 1 where responses are a linear function of vectors, about 0 where they have
        nothing to do with them. Vectors that are followed wholly are nearer than the mean of the
        other contexts where it is above 1/2.
    pvalue
        How often it is as large with the vectors dealt to other contexts.
    """

    share: float
    pvalue: float

    @property
    def is_seen(self) -> bool:
        """Whether the share is more than chance."""
        return self.share > 0 and self.pvalue <= CHANCE


def support(responses: Floats, condition: Ints, context: Ints, places: Floats) -> Support | None:
    """Return how far contexts respond as their coordinates say.

    The responses to a condition in all contexts but one are regressed on the coordinates. With d
    the deviation from their mean that is expected of the one left out, and e the measured one, the
    share is the s that makes the sum of ``|e - s d|²`` least. Of the sets of contexts in which
    conditions were measured, the commonest eight count.

    Parameters
    ----------
    responses
        (m, D) mean responses.
    condition, context
        (m,) codes of each; a context is there at most once for a condition.
    places
        (n_contexts, k) coordinates.

    Returns
    -------
    ``None`` where no condition has three contexts, or nothing is expected of any.
    """
    several: dict[tuple[int, ...], list[Ints]] = {}  # rows of conditions that share their contexts
    for rows in members(condition):
        rows = rows[np.argsort(context[rows])]
        if len(rows) >= LEAST_CONTEXTS:
            several.setdefault(tuple(map(int, context[rows])), []).append(rows)
    common = sorted(several, key=lambda has: (-len(has) * len(several[has]), has))[:MOST_SETS]
    products = {
        has: np.sum([responses[rows] @ responses[rows].T for rows in several[has]], axis=0)
        for has in common
    }
    real = _share(products, places)
    if not np.isfinite(real):
        return None
    rng = np.random.default_rng(0)
    dealt = [_share(products, rng.permutation(places)) for _ in range(N_DEALT)]
    larger = sum(other >= real - 1e-9 for other in dealt)
    return Support(real, (1 + larger) / (1 + N_DEALT))


def _share(products: Mapping[tuple[int, ...], Floats], places: Floats) -> float:
    """Return the share of given coordinates, from the products of responses; NaN for nothing."""
    along = length = 0.0
    for contexts, product in products.items():
        n = len(contexts)
        for out in range(n):
            others = np.arange(n) != out
            z = places[list(contexts)]
            centre = z[others].mean(axis=0)
            z = (z - centre) * others[:, None]
            here = places[contexts[out]] - centre
            ridge = RIDGE * (n - 1) * np.eye(z.shape[1])
            expected = z @ np.linalg.solve(z.T @ z + ridge, here)  # weights of the responses
            measured = np.where(others, -1 / (n - 1), 1.0)
            along += expected @ product @ measured
            length += expected @ product @ expected
    return float(along / length) if length > 0 else float("nan")


def support_of(cells: Population, vocabulary: Vocabulary) -> Support | None:
    """Return how far the training contexts of a screen respond as their vectors say.

    ``None`` without vectors of contexts, for images, and with fewer than three training contexts.
    """
    trained = vocabulary.perturbed_contexts
    placed = vocabulary.placed(trained)
    if placed is None or vocabulary.of_images or len(trained) < LEAST_CONTEXTS:
        return None
    groups = cells.sums.perturbed.of_split(SPLITS.index("train"))
    code = {cells.contexts.index(name): i for i, name in enumerate(trained)}
    context = np.array([code.get(int(c), -1) for c in groups.keys["context"]])
    known = context >= 0
    means = groups.sums[known] / groups.n[known, None]
    responses = means - cells.control_means[groups.keys["context"].to_numpy()[known]]
    asked = groups.keys[known]
    condition, _ = grouped(perturbation=asked["perturbation"], dose=asked["dose"])
    return support(responses, condition, context[known], placed[:-1, :-1].astype(np.float64))


def tell_support(cells: Population, vocabulary: Vocabulary) -> None:
    """Warn if a context without perturbed cells will be followed by a vector that says nothing."""
    known = vocabulary.context_vectors
    if known is None or set(known.contexts) <= set(vocabulary.perturbed_contexts):
        return
    found = support_of(cells, vocabulary)
    if found is not None and not found.is_seen:
        logger.warning(
            "the vectors of contexts in %r are not seen to say how responses differ: training "
            "contexts, each left out in turn, show %.2f of the differences that the vectors of the "
            "others let expect (1: all, 0: none; p = %.2g against vectors dealt anew). Contexts "
            "without perturbed cells may be predicted better without context_embedding=",
            known.name,
            found.share,
            found.pvalue,
        )
