"""Which columns and values of an AnnData a model in numpy reads."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from ...core._choose import choose
from ...core._population import Population, population
from ...core._screen import resolve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from ...core._screen import Screen

_SETUPS: dict[
    tuple[type, int], tuple[weakref.ref[AnnData], tuple[Screen, str | None, str | None]]
] = {}  # class, id


class SetUp:
    """The class method ``setup_anndata`` of a model in numpy, and what it remembers."""

    @classmethod
    def setup_anndata(
        cls,
        adata: AnnData,
        perturbation_key: str | None = None,
        *,
        control: str | Sequence[str] | None = None,
        layer: str | None = None,
        use_rep: str | None = None,
    ) -> None:
        """Say which columns and values of an AnnData this class reads.

        Without this call it reads ``X`` of an AnnData with the record of `shoal.pp.annotate`.

        Parameters
        ----------
        adata
            Screen; it is not changed.
        perturbation_key, control
            Column of perturbations and label(s) of the controls; by default as recorded by
            `shoal.pp.annotate`.
        layer, use_rep
            Slot of ``layers`` or of ``obsm`` to read; ``X`` if both are left out.

        Raises
        ------
        KeyError
            If a column or slot does not exist.
        ValueError
            If the column or the control labels are neither given nor recorded.
        """
        screen = resolve(adata, perturbation_key, control=control)
        choose(adata, layer=layer, use_rep=use_rep)
        own = (cls, id(adata))
        _SETUPS[own] = (
            weakref.ref(adata, lambda _: _SETUPS.pop(own, None)),
            (screen, layer, use_rep),
        )

    @classmethod
    def _cells_of(cls, adata: AnnData) -> Population:
        """Return the cells of an AnnData in the columns and the slot that were set up for it."""
        remembered = _SETUPS.get((cls, id(adata)))
        is_it = remembered is not None and remembered[0]() is adata
        screen, layer, use_rep = remembered[1] if is_it else (resolve(adata), None, None)
        return population(adata, screen, layer=layer, use_rep=use_rep)
