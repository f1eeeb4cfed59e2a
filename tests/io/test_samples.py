"""Several files of one screen become one, each a batch, if they fit together."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import shoal as sh

from . import screens
from .test_open import write_10x


@pytest.fixture
def two(tmp_path):
    """Write two samples of a screen, the second with one gene more, and return how to change one."""

    def write(change=None, name="b"):
        for which, rng in (("a", 0), ("b", 1)):
            adata = screens.state()
            more = screens.counts(adata.obs["target_gene"], genes=[*screens.GENES, "X"], rng=rng)
            adata.obs_names = [f"c{i}" for i in range(adata.n_obs)]
            more.obs, more.obs_names = adata.obs, adata.obs_names
            if which == "a":
                more = more[:, :-1].copy()
                more.obs["n_counts"] = 1.0
            if which == name and change is not None:
                more = change(more) or more
            more.write_h5ad(tmp_path / f"{which}.h5ad")
        return {"first": tmp_path / "a.h5ad", "second": tmp_path / "b.h5ad"}

    return write


def test_samples_are_joined_and_are_the_batches(two, caplog):
    caplog.set_level(logging.INFO, logger="shoal")
    files = two()
    adata = sh.io.read(files)
    one = sh.io.read(files["first"])
    assert adata.n_obs == 2 * one.n_obs
    assert list(adata.var_names) == screens.GENES
    assert adata.obs["sample"].value_counts().to_dict() == {"first": one.n_obs, "second": one.n_obs}
    assert adata.uns["shoal"]["batch_key"] == "sample"
    assert adata.uns["shoal"]["context_key"] == "cell_line"
    assert adata.obs_names.is_unique
    assert adata.obs_names[0] == "c0-first"
    np.testing.assert_array_equal(adata[: one.n_obs].X.toarray(), one.X.toarray())
    assert adata.obs["n_counts"].isna().sum() == one.n_obs
    adata.write_h5ad(files["first"].with_name("both.h5ad"))
    assert "sample_key" not in adata.uns
    said = [record.getMessage() for record in caplog.records]
    assert any("12 genes are in all samples; left out are 1 of 'second'" in line for line in said)


def test_names_of_files_are_names_of_samples(two, tmp_path):
    files = two()
    adata = sh.io.read(list(files.values()))
    assert sorted(adata.obs["sample"].unique()) == ["a", "b"]
    with pytest.raises(ValueError, match=r"the same name; name their samples, as \{'sample 1'"):
        sh.io.read([files["first"], files["first"]])
    with pytest.raises(ValueError, match="path is empty"):
        sh.io.read([])


def test_another_column_may_be_the_batch(two):
    adata = sh.io.read(two(), batch_key="gem_group")
    assert adata.uns["shoal"]["batch_key"] == "gem_group"


def test_a_sample_without_controls_is_not_a_batch(two, caplog):
    files = two(lambda a: a[a.obs["target_gene"] != "non-targeting"].copy())
    adata = sh.io.read(files)
    assert "batch_key" not in adata.uns["shoal"]
    assert any("no control cell has 'second'" in r.getMessage() for r in caplog.records)


def rename(adata):
    adata.obs = adata.obs.rename(columns={"target_gene": "gene"})


def log(adata):
    adata.X.data = np.log1p(adata.X.data)


def other_genes(adata):
    adata.var_names = [f"ENSG{i:011d}" for i in range(adata.n_vars)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (rename, r"no cell of the samples 'second' has a label in obs\['target_gene'\]"),
        (log, r"'first' holds .*raw counts.*'second' holds .*log-normalised"),
        (other_genes, r"no gene in common; .*'ENSG00000000000'"),
    ],
)
def test_samples_that_do_not_fit_together(two, change, said):
    with pytest.raises(ValueError, match=said):
        sh.io.read(two(change))


def test_samples_cannot_stay_on_disk(two):
    with pytest.raises(ValueError, match="backed=True reads one file"):
        sh.io.read(two(), backed=True)


def test_samples_of_10x_have_a_table_of_calls_each(tmp_path):
    files, calls = {}, {}
    for name in ("s1", "s2"):
        (tmp_path / name).mkdir()
        rna, gdo, called = screens.tenx()
        files[name], calls[name] = tmp_path / name / "x.h5", tmp_path / name / "calls.csv"
        write_10x(files[name], rna, gdo)
        called.to_csv(calls[name])
    adata = sh.io.read(files, calls=calls)
    assert adata.uns["shoal"]["perturbation_key"] == "guide_target"
    assert adata.uns["shoal"]["batch_key"] == "sample"
    assert adata.n_obs == 2 * rna.n_obs
    with pytest.raises(ValueError, match="calls must be a dict with one table for each"):
        sh.io.read(files, calls=calls["s1"])
