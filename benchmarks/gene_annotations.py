"""What rounding and fewer dimensions change in the gene vectors of `sh.pp.embed(method="annotations")`. Print a markdown table.

    python benchmarks/gene_annotations.py [--data FOLDER] [--write]

Reads go_svd_gene_embedding_128.npz of the data folder (20,012 genes, 128 dimensions, 16 bits). For 100,000 random pairs
of genes: the correlation of cosines with those of the file, by rank and by value, and the largest difference. "Ten
nearest": the share of the ten genes with the largest cosine that stay, over 300 random genes. "step a dimension" is
8 bits with one step for all genes in each dimension, which was not chosen. `--write` writes the packaged file, from
the same input to the same bytes.
"""

from __future__ import annotations

import argparse
import io
import os
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from shoal.pp._embed_annotations import FILE, packed, unpacked

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
TARGET = ROOT / "src" / "shoal" / "pp" / "gene_annotations" / FILE


def stored(genes: np.ndarray, vectors: np.ndarray) -> bytes:
    """Return the packaged file."""
    steps, levels = packed(vectors)
    file = io.BytesIO()
    text = np.frombuffer("\n".join(genes).encode(), dtype=np.uint8)
    np.savez_compressed(file, genes=text, steps=steps, levels=levels)
    return file.getvalue()


def step_a_dimension(vectors: np.ndarray) -> np.ndarray:
    step = np.abs(vectors).max(axis=0) / 127
    return np.rint(vectors / step) * step


def unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)


def nearest(vectors: np.ndarray, rows: np.ndarray) -> list[set[int]]:
    cosine = unit(vectors)[rows] @ unit(vectors).T
    cosine[np.arange(len(rows)), rows] = -2
    return [set(row) for row in np.argsort(-cosine, axis=1, kind="stable")[:, :10]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SHOAL_DATA_DIR", DATA)))
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    with np.load(args.data / "go_svd_gene_embedding_128.npz", allow_pickle=False) as held:
        order = np.argsort(held["genes"], kind="stable")
        genes, vectors = held["genes"][order], held["embedding"][order].astype(np.float64)
    file = stored(genes, vectors)
    if args.write:
        TARGET.write_bytes(file)
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, len(genes), (2, 100_000))
    a, b = a[a != b], b[a != b]
    rows = rng.choice(len(genes), 300, replace=False)

    def cosines(table: np.ndarray) -> np.ndarray:
        table = unit(table)
        return np.einsum("ij,ij->i", table[a], table[b])

    before, near = cosines(vectors), nearest(vectors, rows)
    print(f"{len(genes):,} genes; packaged file: {len(file) / 1e6:.2f} MB\n")
    print("| vectors | by rank | by value | largest difference | ten nearest |")
    print("|---|---|---|---|---|")
    variants = {
        "packaged, 128 dimensions": unpacked(*packed(vectors)),
        "step a dimension, 128 dimensions": step_a_dimension(vectors),
    }
    variants |= {f"16 bits, {k} dimensions": vectors[:, :k] for k in (96, 64, 32)}
    for title, table in variants.items():
        after = cosines(table)
        kept = np.mean([len(x & y) / 10 for x, y in zip(nearest(table, rows), near, strict=True)])
        print(
            f"| {title} | {spearmanr(before, after)[0]:.3f} | {np.corrcoef(before, after)[0, 1]:.4f} "
            f"| {np.abs(before - after).max():.3f} | {kept:.2f} |"
        )


if __name__ == "__main__":
    main()
