"""Gene sets as users hold them: a list, a mapping, or a GMT file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

GeneSets: TypeAlias = Sequence[str] | Mapping[str, Sequence[str]] | str | Path


def read_gene_sets(gene_set: GeneSets) -> dict[str, list[str]]:
    """Return name -> genes, each gene once; a bare list is called ``"gene_set"``.

    A GMT file holds one set a line, tab-separated: name, description, genes.

    Raises
    ------
    FileNotFoundError
        If a path is given and there is no such file.
    ValueError
        If there is no set, a set is empty, or two sets of a file share a name.
    """
    if isinstance(gene_set, (str, Path)):
        found = _read_gmt(Path(gene_set))
    elif isinstance(gene_set, Mapping):
        found = {str(name): _unique(genes) for name, genes in gene_set.items()}
    else:
        found = {"gene_set": _unique(gene_set)}
    empty = [name for name, genes in found.items() if not genes]
    if empty or not found:
        msg = f"gene sets without genes: {empty}" if empty else "gene_set holds no gene set"
        raise ValueError(msg)
    return found


def _read_gmt(path: Path) -> dict[str, list[str]]:
    if not path.is_file():
        msg = (
            f"no GMT file at {str(path)!r}; to score one gene, pass a list: "
            f"gene_set=[{str(path)!r}]"
        )
        raise FileNotFoundError(msg)
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        if not line.strip():
            continue
        name, *rest = line.rstrip().split("\t")
        if name in found:
            msg = f"{path.name} holds two gene sets named {name!r}"
            raise ValueError(msg)
        found[name] = _unique(rest[1:])
    return found


def _unique(genes: Sequence[str]) -> list[str]:
    if isinstance(genes, str):
        return [genes]
    return list(dict.fromkeys(str(g) for g in genes if str(g)))
