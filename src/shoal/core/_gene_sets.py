"""Gene sets as users hold them: a list, a mapping, or a GMT file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from .._validate import listed

GeneSets: TypeAlias = Sequence[str] | Mapping[str, Sequence[str]] | str | Path


def read_gene_sets(gene_set: GeneSets) -> dict[str, list[str]]:
    """Return name -> genes, each gene once; a bare list is called ``"gene_set"``.

    A GMT file holds one set a line, tab-separated: name, description, genes.

    Raises
    ------
    FileNotFoundError
        If a path is given and there is no such file.
    ValueError
        If there is no set, a set is empty or holds missing names, two sets of a file share a
        name, or a file is no text.
    TypeError
        If it is neither a list, a mapping nor a path.
    """
    if isinstance(gene_set, (str, Path)):
        found = _read_gmt(Path(gene_set))
    elif isinstance(gene_set, Mapping):
        found = {str(name): _unique(genes, str(name)) for name, genes in gene_set.items()}
    else:
        found = {"gene_set": _unique(gene_set, "gene_set")}
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
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        msg = f"{path.name} cannot be read as a GMT file, which is text: {err}"
        raise ValueError(msg) from err
    for line in lines:
        if not line.strip():
            continue
        name, *rest = line.rstrip().split("\t")
        if name in found:
            msg = f"{path.name} holds two gene sets named {name!r}; rename or drop one"
            raise ValueError(msg)
        found[name] = _unique([gene for gene in rest[1:] if gene], name)
    return found


def _unique(genes: Sequence[str], name: str) -> list[str]:
    several = [gene.strip() for gene in listed(genes, name=f"the gene set {name!r}")]
    if any(gene in ("", "nan") for gene in several):
        msg = f"the gene set {name!r} holds missing names; drop them"
        raise ValueError(msg)
    return list(dict.fromkeys(several))
