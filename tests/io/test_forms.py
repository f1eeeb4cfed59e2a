"""Files of each form are read with the design that they mean, and what is unclear is said."""

from __future__ import annotations

import inspect
import logging

import numpy as np
import pytest

import shoal as sh
from shoal.core._gene_names import gene_names
from shoal.core._screen import labels, resolve
from shoal.io import _forms

from . import screens

WRITTEN = {  # what each form is read as
    "gears": {
        "perturbation_key": "condition",
        "control": ["ctrl"],
        "sep": "+",
        "missing": "raise",
    },
    "scperturb": {
        "perturbation_key": "perturbation",
        "control": ["control"],
        "batch_key": "batch",
        "guide_key": "guide_id",
        "sep": "_",
        "missing": "ignore",
    },
    "state": {
        "perturbation_key": "target_gene",
        "control": ["non-targeting"],
        "context_key": "cell_line",
        "batch_key": "gem_group",
        "guide_key": "guide_id",
        "sep": "auto",
        "missing": "raise",
    },
    "cell_eval2": {
        "perturbation_key": "target",
        "control": ["non-targeting"],
        "sep": "auto",
        "missing": "raise",
    },
    "replogle": {
        "perturbation_key": "gene",
        "control": ["non-targeting"],
        "batch_key": "gem_group",
        "guide_key": "sgID_AB",
        "sep": "auto",
        "missing": "raise",
    },
    "mantispy": {
        "perturbation_key": "Metadata_Perturbation",
        "control": ["DMSO"],
        "batch_key": "Metadata_Plate",
        "dose_key": "Metadata_Concentration",
        "sep": "auto",
        "missing": "ignore",
    },
    "tahoe": {
        "perturbation_key": "drug",
        "control": ["DMSO_TF"],
        "context_key": "cell_name",
        "sep": "auto",
        "missing": "raise",
    },
}
PERTURBATIONS = {
    "gears": ["G1+ctrl", "G1+G2", "ctrl+G2"],
    "scperturb": ["CEBPA", "CEBPA_KLF1", "KLF1"],
    "mantispy": ["nocodazole", "taxol"],
}


def written(path, name, change=None):
    """Write a file of a form, changed, and return its path as text."""
    adata = getattr(screens, name)()
    if change is not None:
        adata = change(adata) or adata
    adata.write_h5ad(path / f"{name}.h5ad")
    return str(path / f"{name}.h5ad")


def design(adata):
    """Return the record without how labels are read."""
    stored = {k: v for k, v in adata.uns["shoal"].items() if k not in ("singles", "written")}
    return stored | {"control": list(stored["control"])}


@pytest.fixture
def said(caplog):
    """Return what was logged."""
    caplog.set_level(logging.INFO, logger="shoal")
    return lambda level=logging.INFO: [r.getMessage() for r in caplog.records if r.levelno >= level]


def test_every_form_has_a_file_here():
    made = {name for name, _ in inspect.getmembers(screens, inspect.isfunction)}
    assert {form.name.replace("10x", "tenx") for form in _forms.FORMS} <= made
    assert {form.name for form in _forms.FORMS} - {"10x"} == set(WRITTEN)  # 10x: test_calls.py


@pytest.mark.parametrize("name", WRITTEN)
def test_a_file_of_a_form_is_read_with_its_design(tmp_path, name, said):
    before = getattr(screens, name)()
    adata = sh.io.read(written(tmp_path, name))
    assert design(adata) == WRITTEN[name]
    screen = resolve(adata)
    found = labels(adata, screen)
    assert list(found.names) == PERTURBATIONS.get(name, ["G1", "G2"])
    n_missing = 3 if name == "scperturb" else 0
    assert (found.code == -1).sum() == n_missing
    assert found.is_control.sum() == 24 - n_missing
    np.testing.assert_array_equal(np.asarray(adata.X.sum(1)), np.asarray(before.X.sum(1)))
    read_as = [line for line in said() if "read as" in line]
    assert len(read_as) == 1
    assert next(form.title for form in _forms.FORMS if form.name == name) in read_as[0]


def test_doses_that_are_no_numbers_are_told_of(tmp_path, said):
    def change(adata):
        adata.obs["drug_conc"] = [
            float(text.split(", ")[1]) for text in adata.obs["drugname_drugconc"]
        ]

    sh.io.read(written(tmp_path, "tahoe"))
    assert any(
        "obs['drugname_drugconc'] is not recorded as the dose" in line
        and "cells of all doses are one condition" in line
        for line in said(logging.WARNING)
    )
    adata = sh.io.read(written(tmp_path, "tahoe", change))
    assert adata.uns["shoal"]["dose_key"] == "drug_conc"


@pytest.mark.parametrize(
    ("doses", "key"), [([1.0, 0.1], "dose_val"), (["0.1+1.0", "1.0"], None), (["1", "1+1"], None)]
)
def test_doses_of_files_with_the_columns_of_gears(tmp_path, said, doses, key):
    """CPA writes the same columns, and real doses: these are recorded, or told of."""

    def change(adata):
        control = adata.obs["condition"] == "ctrl"
        adata.obs["dose_val"] = np.where(control, "1", np.resize(doses, adata.n_obs).astype(str))

    adata = sh.io.read(written(tmp_path, "gears", change))
    assert adata.uns["shoal"].get("dose_key") == key
    told = [line for line in said(logging.WARNING) if "'dose_val'] is not recorded" in line]
    assert len(told) == (doses[0] == "0.1+1.0")


@pytest.mark.parametrize("name", ["gears", "replogle"])
def test_symbols_are_found_where_genes_have_identifiers(tmp_path, name):
    adata = sh.io.read(written(tmp_path, name))
    assert gene_names(adata, resolve(adata)).of(["G1"]) == ["ENSG00000000001"]


def test_what_was_left_alone_is_said(tmp_path, said):
    sh.io.read(written(tmp_path, "gears"))
    (line,) = (line for line in said() if "read as" in line)
    assert "obs['dose_val'] (it counts the guides of a cell and is no dose)" in line
    assert "obs['cell_type'] (it has one value)" in line
    assert "'condition_name'" in line


def test_names_that_are_there_twice_get_numbers(tmp_path, said):
    path = written(tmp_path, "scperturb")
    adata = sh.io.read(path)
    assert adata.var_names[7] == "G6-1"
    assert any("such as 'G6'" in line for line in said(logging.WARNING))


def test_the_whole_way_needs_no_further_column(tmp_path):
    adata = sh.io.read(written(tmp_path, "scperturb"))
    sh.pp.prepare(adata, normalize="log1p", n_comps=5)
    sh.pp.split(adata, by="combination", test=0.9)
    assert set(adata.uns["split"]["units"].index) == {"CEBPA_KLF1"}


def test_a_recorded_design_is_kept(tmp_path, said):
    adata = sh.ds.simulate(n_perturbations=3, rng=0)
    sh.pp.annotate(adata, "perturbation", control="control", batch_key="batch")
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = sh.io.read(tmp_path / "a.h5ad")
    assert design(again) == design(adata)
    assert any("batch obs['batch']" in line for line in said())
    other = sh.io.read(tmp_path / "a.h5ad", batch_key=None)  # an argument counts for more
    assert "batch_key" not in other.uns["shoal"]


def test_arguments_count_for_more_than_the_form(tmp_path):
    path = written(tmp_path, "state")
    adata = sh.io.read(path, context_key=None, batch_key="cell_line", guide_key=None)
    assert design(adata) == {
        "perturbation_key": "target_gene",
        "control": ["non-targeting"],
        "batch_key": "cell_line",
        "sep": "auto",
        "missing": "raise",
    }
    adata = sh.io.read(path, "guide_id", control=["non-targeting_0", "non-targeting_1"])
    assert design(adata)["perturbation_key"] == "guide_id"


def test_a_form_may_have_other_controls_if_they_are_named(tmp_path):
    def rename(adata):
        adata.obs["perturbation"] = adata.obs["perturbation"].cat.rename_categories(
            {"control": "NegCtrl0_NegCtrl0"}
        )

    path = written(tmp_path, "scperturb", rename)
    with pytest.raises(ValueError, match=r"looks like scPerturb, since obs has 'perturbation'"):
        sh.io.read(path)
    adata = sh.io.read(path, control="NegCtrl0")
    found = labels(adata, resolve(adata))
    assert list(found.names) == ["CEBPA", "CEBPA_KLF1", "KLF1"]
    assert found.is_control.sum() == 21


@pytest.mark.parametrize("column", [(), ("perturbation",)])
def test_another_usual_label_of_controls_keeps_the_form(tmp_path, column):
    def rename(adata):
        names = {"control": "ctrl"}
        adata.obs["perturbation"] = adata.obs["perturbation"].cat.rename_categories(names)

    adata = sh.io.read(written(tmp_path, "scperturb", rename), *column)
    assert design(adata) == WRITTEN["scperturb"] | {"control": ["ctrl"]}


def test_a_second_usual_label_of_controls_is_told(tmp_path, said):
    def change(adata):
        adata.obs["target_gene"] = adata.obs["target_gene"].replace({"G2": "untreated"})

    adata = sh.io.read(written(tmp_path, "state", change))
    assert list(adata.uns["shoal"]["control"]) == ["non-targeting"]
    call = "control=['non-targeting', 'untreated']"
    assert any(call in line for line in said(logging.WARNING))


@pytest.mark.parametrize("label", ["NT_2", "ntc-17", "safe-targeting", "AAVS1", "Neg_Ctrl3"])
def test_a_label_that_is_often_one_of_controls_is_told(tmp_path, said, label):
    def change(adata):
        adata.obs["target_gene"] = adata.obs["target_gene"].replace({"G2": label})

    sh.io.read(written(tmp_path, "state", change))
    call = f"control=['non-targeting', {label!r}]"
    assert any(call in line for line in said(logging.WARNING))


def test_genes_that_begin_like_a_control_are_none(tmp_path, said):
    def change(adata):
        names = {"G1": "NT5E", "G2": "CTRL1B", "G3": "SAFB2"}
        adata.obs["target_gene"] = adata.obs["target_gene"].replace(names)

    sh.io.read(written(tmp_path, "state", change))
    assert not any("often a label" in line for line in said(logging.WARNING))


def test_batches_without_controls_are_not_recorded(tmp_path, said):
    def change(adata):
        adata.obs["gem_group"] = np.where(adata.obs["target_gene"] == "G1", 9, 1)

    adata = sh.io.read(written(tmp_path, "state", change))
    assert "batch_key" not in adata.uns["shoal"]
    assert any(
        "obs['gem_group'] is not recorded" in line and "no control cell has '9'" in line
        for line in said(logging.WARNING)
    )
    adata = sh.io.read(written(tmp_path, "state", change), batch_key="gem_group")
    assert adata.uns["shoal"]["batch_key"] == "gem_group"


def test_doses_in_several_units_are_not_recorded(tmp_path, said):
    def change(adata, units):
        adata.obs["dose_value"] = np.arange(adata.n_obs) % 3 + 1.0
        adata.obs["dose_unit"] = np.resize(units, adata.n_obs)

    one = sh.io.read(written(tmp_path, "scperturb", lambda a: change(a, ["uM"])))
    assert one.uns["shoal"]["dose_key"] == "dose_value"
    two = sh.io.read(written(tmp_path, "scperturb", lambda a: change(a, ["uM", "nM"])))
    assert "dose_key" not in two.uns["shoal"]
    assert any("doses are in several units, 'nM', 'uM'" in line for line in said())


def test_the_mark_of_controls_counts_for_more_than_their_name(tmp_path):
    def change(adata):
        column = adata.obs["Metadata_Perturbation"].cat
        adata.obs["Metadata_Perturbation"] = column.rename_categories({"DMSO": "JCP2022_033924"})
        del adata.obs["Metadata_Compound"]

    adata = sh.io.read(written(tmp_path, "mantispy", change))
    assert list(adata.uns["shoal"]["control"]) == ["JCP2022_033924"]


def test_a_context_with_missing_values_is_not_recorded(tmp_path, said):
    def change(adata):
        adata.obs["cell_line"] = adata.obs["cell_line"].where(np.arange(adata.n_obs) > 2)

    adata = sh.io.read(written(tmp_path, "state", change))
    assert "context_key" not in adata.uns["shoal"]
    assert any("since 3 cells have none" in line for line in said(logging.WARNING))


def test_a_plain_file_is_read_by_columns_of_usual_names(tmp_path, said):
    adata = sh.ds.simulate(n_perturbations=3, rng=0)
    del adata.uns["shoal"]
    adata.obs = adata.obs.rename(columns={"perturbation": "gene_target"})
    adata.obs["gene_target"] = adata.obs["gene_target"].cat.rename_categories({"control": "NT"})
    adata.write_h5ad(tmp_path / "a.h5ad")
    adata = sh.io.read(tmp_path / "a.h5ad")
    assert design(adata) == {
        "perturbation_key": "gene_target",
        "control": ["NT"],
        "batch_key": "batch",
        "guide_key": "guide",
        "sep": "auto",
        "missing": "raise",
    }
    (line,) = (line for line in said() if "read as" in line)
    assert "batch obs['batch'], guide obs['guide']. Left alone: the columns" in line
