"""Names for model classes of a user's own."""

from __future__ import annotations

import re

from ..._validate import one_of
from ._registry import NEEDS, ModelEntry, check_class, enter_class, kind_of

NAME = re.compile(r"[A-Za-z]\w*")


def register(
    name: str,
    model: type,
    *,
    needs: tuple[str, ...] = (),
    description: str | None = None,
    unseen: str = "",
    overwrite: bool = False,
) -> None:
    """Give a model class of your own a name, which works wherever shoal takes the name of a model.

    The name holds until the Python process ends. Register the class again before you load a
    saved model of it.

    Parameters
    ----------
    name
        Letters, digits and underscores, beginning with a letter.
    model
        Class: a subclass of `shoal.models.Baseline` or of `shoal.models.PerturbationModel`, or
        any class with ``setup_anndata`` and ``train``. Subclasses of `shoal.models.Baseline` are
        listed as baselines, all others as networks.
    needs
        What the model reads beside perturbation labels and log-normalised values: of
        ``"embedding"``, ``"contexts"``, ``"doses"``, ``"counts"`` and ``"images"``.
    description
        One line for the list of models; the first line of the class's docstring if ``None``.
    unseen
        What a perturbation gets that was not in training, in a few words.
    overwrite
        Whether the name may be taken from another class. The same class, defined again, needs no
        such permission.

    Returns
    -------
    Nothing; the model is listed by `shoal.models.available`.

    Raises
    ------
    TypeError
        If `model` is no class with ``setup_anndata`` and ``train``.
    ValueError
        If the name is not valid or taken, or one of `needs` is not known.

    Examples
    --------
    >>> import shoal as sh
    >>> class Twice(sh.models.MeanShift):
    ...     "Control cells plus twice the mean response."
    ...
    ...     def _shifts(self, names, context, dose):
    ...         return 2 * super()._shifts(names, context, dose)
    >>> sh.models.register("twice", Twice)
    >>> adata = sh.ds.simulate_gaussian(n_perturbations=4, n_dims=5, rng=0)
    >>> sh.tl.fit(adata, "twice").predict("P1", n_cells=20).shape
    (20, 5)
    """
    if not (isinstance(name, str) and NAME.fullmatch(name)):
        msg = (
            f"a model cannot be called {name!r}: use letters, digits and underscores, beginning "
            "with a letter, as in sh.models.register('my_model', MyModel)"
        )
        raise ValueError(msg)
    check_class(model)
    for need in needs:
        one_of(need, NEEDS, name="needs")
    lines = (description or model.__doc__ or "").strip().splitlines()
    entry = ModelEntry(
        name=name,
        kind=kind_of(model),
        needs=tuple(needs),
        description=lines[0] if lines else "",
        class_name=model.__name__,
        module=model.__module__,
        unseen=unseen,
    )
    enter_class(entry, model, overwrite=overwrite)
