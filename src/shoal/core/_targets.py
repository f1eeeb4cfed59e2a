"""The genes that perturbations are named after, and genes that a call names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._logging import logger
from ._gene_names import GeneNames, few, gene_names, gene_within, tell_symbols

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anndata import AnnData

    from ._screen import Screen


def targets_of(adata: AnnData, screen: Screen, perturbations: Iterable[str]) -> list[str]:
    """Return the ``var_names`` of the genes that perturbations are named after.

    Raises
    ------
    ValueError
        If there is none.
    """
    genes = gene_names(adata, screen)
    parts = sorted({part for name in perturbations for part in screen.parts(name)})
    found = genes.of(parts)
    if not found:
        msg = f"exclude='targets' finds no gene to leave out: {no_target(genes, parts)}"
        raise ValueError(msg)
    lost = [part for part in parts if part not in genes]
    rest = f"; {len(lost)} are no gene of the data: {few(lost)}" if lost else ""
    logger.info("left out %d target genes of %d perturbations%s", len(found), len(parts), rest)
    tell_symbols(genes)
    return found


def genes_called(adata: AnnData, screen: Screen, called: Sequence[str]) -> list[str]:
    """Return the ``var_names`` of genes in a list of names or symbols; log those that are absent.

    Raises
    ------
    KeyError
        If none is there.
    """
    genes = gene_names(adata, screen)
    found = genes.of(called)
    if not found:
        msg = f"none of the genes in exclude= ({few(called)}) is in {genes.words}"
        raise KeyError(msg)
    absent = [name for name in called if name not in genes]
    if absent:
        logger.info("genes in exclude= that adata does not have: %s", few(absent))
    return found


def no_target(genes: GeneNames, parts: Sequence[str]) -> str:
    """Say that no perturbation is named after a gene, and what to do if they are genes."""
    held = {part: gene for part in parts if (gene := gene_within(part, genes)) is not None}
    fix = (
        "if perturbations are genes, name the column of adata.var that holds their symbols with "
        "sh.pp.annotate(..., gene_key=...)"
    )
    if held:
        label, gene = next(iter(held.items()))
        fix = (
            f"labels hold the names of genes ({label!r} holds {gene!r}): annotate a column of "
            "adata.obs that holds these names alone"
        )
    return f"no perturbation ({few(list(parts))}) is named after a gene of {genes.words}; {fix}"
