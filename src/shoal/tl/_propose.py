"""What to measure next: candidates ranked by what their measurement is expected to tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from .._docs import shared
from .._keys import PROPOSAL
from .._random import as_generator
from .._threads import one_thread
from .._validate import get_adata, one_of, whole
from ..core._claims import claim_result
from ..core._results import write_table
from ..core._screen import resolve
from ..evaluation._candidates import BY
from ..evaluation._strategies import STRATEGIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from mudata import MuData

    from .._random import RNGLike


@one_thread()
@shared()
def propose(
    data: AnnData | MuData,
    model: Any = None,
    *,
    n: int = 20,
    candidates: Sequence[str] | pd.DataFrame | None = None,
    strategy: Literal["disagreement", "coverage", "hit", "random"] = "disagreement",
    by: Literal["perturbation", "perturbation_context"] = "perturbation",
    embedding: str | pd.DataFrame | None = None,
    dose: float | None = None,
    rng: RNGLike = 0,
    key_added: str | None = None,
    overwrite: bool = False,
    mod: str | None = None,
) -> None:
    """Rank perturbations that were not measured by what measuring them is expected to tell.

    Whether a strategy is better than a random choice depends on the screen and on the vectors.
    :func:`shoal.benchmark.replay` tries it on a screen that was measured in full, and the guide
    :doc:`/user_guide/design` shows what came out on real ones.

    Parameters
    ----------
    data
        Screen.
    model
        Models that may disagree: a trained ensemble, or a list or mapping of trained models, which
        count equally. If ``None``, an ensemble of baselines is trained on all measured cells. The
        other strategies ask no model.
    n
        Number of candidates to rank; all are ranked if there are fewer.
    candidates
        Names of perturbations, or a table with the columns ``perturbation`` and, where `by` is
        ``"perturbation_context"``, ``context``. If ``None``, all that is not measured: the
        perturbations with a vector, and by context also those that were measured elsewhere.
        Measured ones and those without a vector are left out, and a notice names them.
    strategy
        What is expected of a measurement:

        - ``"disagreement"``: that the models disagree less, on all candidates together. A response
          that several candidates share is counted once.
        - ``"coverage"``: that every candidate has something measured near to it, in the space of
          the vectors.
        - ``"hit"``: that the perturbation responds. Measured ones say which do, by
          ``uns["coherence"]``, and near ones count more.
        - ``"random"``: nothing. It is what the others have to beat.
    by
        What is measured at once: a perturbation in all contexts, or in one context.
    embedding
        Vectors of perturbations: a name that :func:`shoal.pp.embed` wrote, or a table. By default
        those that the models were trained with.
    dose
        Dose that models are asked about; a screen with doses needs one.
    rng
        Seed or generator. It orders candidates of the same score.
    key_added
        Slot of ``uns``. By default ``"proposal"``.
    overwrite
        {overwrite}
    mod
        {mod}

    Returns
    -------
    Nothing; writes ``uns[key_added]`` with ``table``, ``params``, ``schema`` and ``version``.

    The table has one row for each proposed candidate, the first one first:

    - ``rank`` (int), ``perturbation`` and, by context, ``context`` (categories);
    - ``score`` (float), which counts what earlier rows bring already. It is the share of the
      disagreement on all candidates that the measurement takes, the share by which the distances to
      the nearest measured perturbation fall, or the probability of a response. NaN for
      ``"random"``;
    - ``total`` (float): sum of the scores up to here. It says where to stop; for ``"hit"`` it is
      the expected number of responders.

    ``params["skipped"]`` names the candidates without a vector.

    Raises
    ------
    KeyError
        If a column, embedding or context does not exist, no candidate has a vector, or ``"hit"``
        finds no ``uns["coherence"]``.
    TypeError
        If `model` or `candidates` is of a wrong kind.
    ValueError
        If an option is not known, there is no candidate, a strategy lacks vectors or models, the
        models agree on everything, or a screen with doses is given none.

    References
    ----------
    cohn1996active

    Examples
    --------
    >>> import numpy as np, pandas as pd, shoal as sh
    >>> adata = sh.ds.simulate_gaussian(n_perturbations=12, n_dims=10, rng=0)
    >>> names = [*sorted(set(adata.obs["perturbation"]) - {"control"}), "new 1", "new 2"]
    >>> draws = np.random.default_rng(0)
    >>> vectors = pd.DataFrame(draws.normal(size=(len(names), 4)), index=names)
    >>> sh.tl.propose(adata, strategy="coverage", embedding=vectors)
    >>> sorted(adata.uns["proposal"]["table"]["perturbation"])
    ['new 1', 'new 2']
    """
    from ..evaluation._propose import proposal

    adata = get_adata(data, mod)
    n = whole(n, name="n")
    one_of(strategy, tuple(STRATEGIES), name="strategy")
    one_of(by, BY, name="by")
    generator = as_generator(rng)
    screen = resolve(adata)
    key = claim_result(
        adata,
        PROPOSAL if key_added is None else key_added,
        schema="proposal/1",
        screen=screen,
        overwrite=overwrite,
    )
    table, params = proposal(
        adata,
        model,
        n=n,
        candidates=candidates,
        strategy=strategy,
        by=by,
        embedding=embedding,
        dose=dose,
        rng=generator,
    )
    write_table(adata, key, table, schema="proposal/1", params=params)
