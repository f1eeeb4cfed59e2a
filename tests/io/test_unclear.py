"""Files that do not say what they are: refused, with what they hold and the call that reads them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import shoal as sh

from . import screens
from .test_forms import written


def plain(path, **columns):
    """Write a file with these columns of obs, each repeated to the number of cells."""
    adata = screens.counts(["x"] * 24)
    adata.obs = pd.DataFrame(
        {key: np.resize(np.array(values, dtype=object), 24) for key, values in columns.items()},
        index=adata.obs_names,
    ).infer_objects()
    adata.layers["raw"] = adata.X.copy()
    adata.var["symbol"] = "s"
    adata.write_h5ad(path / "a.h5ad")
    return str(path / "a.h5ad")


def refused(path, *args, **kwargs) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 the text is looked at
        sh.io.read(path, *args, **kwargs)
    return str(caught.value)


def test_no_form_says_what_is_there_and_which_call_to_make(tmp_path):
    path = plain(tmp_path, hash=["a", "b"], my_guides=["NT", "STAT1"])
    said = refused(path)
    assert "24 cells and 12 genes" in said
    assert "'hash' (2 values, such as 'a', 'b')" in said
    assert "'G0', 'G1', 'G2', ...; columns 'symbol'" in said
    assert "layers: 'raw'" in said
    call = f"sh.io.read({path!r}, 'my_guides', control='NT')"
    assert said.endswith(call)
    assert eval(call, {"sh": sh}).uns["shoal"]["perturbation_key"] == "my_guides"


def test_no_candidate_leaves_the_call_to_be_filled_in(tmp_path):
    said = refused(plain(tmp_path, hash=["a", "b"]))
    assert "'column of obs', control='label')" in said


def test_two_columns_are_both_named(tmp_path):
    path = plain(
        tmp_path, gene_target=["NT", "G1", "NT", "G1"], treatment=["DMSO", "DMSO", "drug", "drug"]
    )
    said = refused(path)
    for call in (
        f"sh.io.read({path!r}, 'gene_target', control='NT')",
        f"sh.io.read({path!r}, 'treatment', control='DMSO')",
    ):
        assert call in said
        sh.io.read(path, *[call.split("'")[3]])  # the column alone is enough


def test_a_second_perturbation_beside_a_known_form_is_asked_for(tmp_path):
    def change(adata):
        adata.obs["treatment"] = np.where(np.arange(adata.n_obs) % 2, "DMSO", "drug")

    path = written(tmp_path, "state", change)
    assert "cells of one 'target_gene' differ in 'treatment'" in refused(path)
    adata = sh.io.read(path, "target_gene", context_key="treatment")
    assert adata.uns["shoal"]["context_key"] == "treatment"


def test_a_column_in_which_cells_of_one_guide_differ_is_asked_for(tmp_path):
    """A stimulation whose first level is called "Control", in a screen of guides."""
    path = plain(
        tmp_path,
        condition=["Control", "Co-culture", "IFN"],
        sgRNA=["STAT1_1"] * 3 + ["STAT1_2"] * 3 + ["ONE_SITE_1"] * 3,
        hit=["STAT1"] * 6 + ["ONE_SITE"] * 3,
    )
    said = refused(path)
    assert "cells of one guide (obs['sgRNA']) differ in it" in said
    adata = sh.io.read(path, "hit", control="ONE_SITE", context_key="condition")
    assert adata.uns["shoal"]["guide_key"] == "sgRNA"
    assert "guide_key" not in sh.io.read(path, "condition").uns["shoal"]


def test_doses_of_a_plain_file(tmp_path, caplog):
    path = plain(tmp_path, product_name=["Vehicle", "drug", "drug"], dose=[0.0, 1.0, 10.0])
    assert sh.io.read(path).uns["shoal"]["dose_key"] == "dose"
    path = plain(tmp_path, product_name=["Vehicle", "drug", "drug"], dose=[0.0, 0.0, 10.0])
    assert "dose_key" not in sh.io.read(path).uns["shoal"]
    assert (
        "obs['dose'] is not recorded as the dose, since perturbed cells have the dose 0"
        in caplog.text
    )
    caplog.clear()
    path = plain(tmp_path, drug=["DMSO", "drug", "drug"], dose=["0 uM", "1 uM", "10 uM"])
    assert "dose_key" not in sh.io.read(path).uns["shoal"]
    assert "obs['dose'] is not recorded as the dose" in caplog.text


def test_a_measure_of_every_cell_is_no_dose(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("shoal.io._roles.MOST_DOSES", 5)
    path = plain(tmp_path, drug=["DMSO", "drug"], concentration=[0.0, *np.arange(1.0, 8)])
    assert "dose_key" not in sh.io.read(path).uns["shoal"]
    assert "obs['concentration'] is not recorded as the dose, since it has" in caplog.text


def test_a_coarser_column_is_no_rival(tmp_path):
    path = plain(
        tmp_path,
        target_gene=["non-targeting", "G1", "G2"],
        perturbation=["control", "pert", "pert"],
    )
    assert sh.io.read(path).uns["shoal"]["perturbation_key"] == "target_gene"


def test_targets_of_drugs_are_not_taken_for_their_names(tmp_path):
    path = plain(tmp_path, target=["HSP90", "EGFR", None], compound=["a", "b", "DMSO"])
    assert sh.io.read(path).uns["shoal"]["perturbation_key"] == "compound"


@pytest.mark.parametrize("found", [["pLKO", "G1"], ["control", "DMSO", "G1"]])
def test_controls_of_no_usual_name_or_of_two_are_asked_for(tmp_path, found):
    path = plain(tmp_path, perturbation=found)
    said = refused(path, "perturbation")
    assert "which labels of obs['perturbation'] are controls?" in said
    assert "'G1'" in said
    assert refused(path)
    control = found[:-1]
    assert (
        list(sh.io.read(path, "perturbation", control=control).uns["shoal"]["control"]) == control
    )


def test_two_contexts_are_both_named(tmp_path):
    def change(adata):
        rows = np.arange(adata.n_obs)
        adata.obs["cell_line"] = np.where(rows % 2, "a", "b")
        adata.obs["perturbation_2"] = np.where(rows // 2 % 2, "IFN", "none")

    path = written(tmp_path, "scperturb", change)
    said = refused(path)
    assert "both obs['perturbation_2'] and obs['cell_line'] could be the context" in said
    assert sh.io.read(path, context_key="cell_line").uns["shoal"]["context_key"] == "cell_line"
    assert "context_key" not in sh.io.read(path, context_key=None).uns["shoal"]


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (
            "gears",
            lambda a: a.obs.drop(columns="condition"),
            "looks like GEARS, but obs has no column",
        ),
        (
            "replogle",
            lambda a: a.obs.replace({"gene": {"non-targeting": "NegCtrl10"}}),
            "looks like Replogle et al. 2022, since obs has 'gene', but no cell has a control label",
        ),
        (
            "state",
            lambda a: a.obs.replace({"target_gene": {"non-targeting": "AAVS1"}}),
            "looks like State and cell-eval, since obs has 'target_gene'",
        ),
    ],
)
def test_half_a_form_is_named(tmp_path, name, change, said):
    def half(adata):
        adata.obs = change(adata)

    assert said in refused(written(tmp_path, name, half))


def test_a_label_that_is_marked_in_part_is_refused(tmp_path):
    def change(adata):
        adata.obs.loc[adata.obs_names[:3], "control"] = 0

    assert "marks only some of the cells with the label 'ctrl'" in refused(
        written(tmp_path, "gears", change)
    )


def test_numbers_of_parts_that_no_separator_agrees_with_are_asked_about(tmp_path):
    def change(adata):  # a single perturbation whose name holds the separator
        column = adata.obs["perturbation"].cat
        adata.obs["perturbation"] = column.rename_categories({"KLF1": "KLF_1"})

    path = written(tmp_path, "scperturb", change)
    assert "obs['nperts'] says that cells have several perturbations" in refused(path)
    assert sh.io.read(path, sep="").uns["shoal"]["sep"] == ""


def test_missing_labels_are_refused_where_the_form_has_none(tmp_path):
    path = plain(tmp_path, perturbation=["control", "G1", None])
    said = refused(path)
    assert "8 of 24 cells have no label in obs['perturbation']" in said
    assert f"sh.io.read({path!r}, missing='ignore')" in said
    assert sh.io.read(path, missing="ignore").n_obs == 24


def test_columns_and_labels_that_do_not_exist(tmp_path):
    path = written(tmp_path, "state")
    with pytest.raises(KeyError, match="'nothing' is not in adata.obs"):
        sh.io.read(path, "nothing")
    with pytest.raises(KeyError, match="Pass control= with the label"):
        sh.io.read(path, "target_gene", control="NT")
    with pytest.raises(KeyError, match="given as batch_key"):
        sh.io.read(path, batch_key="nothing")


def test_arguments_of_the_wrong_kind(tmp_path):
    path = written(tmp_path, "state")
    with pytest.raises(TypeError, match="backed must be True or False"):
        sh.io.read(path, backed="r")
    with pytest.raises(ValueError, match="missing='drop' is not known"):
        sh.io.read(path, missing="drop")


def test_controls_with_numbers_are_all_named_in_the_call(tmp_path):
    path = plain(tmp_path, perturbation=["NT_1", "G1", "NT_2", "G2"])
    said = refused(path)
    call = f"sh.io.read({path!r}, 'perturbation', control=['NT_1', 'NT_2'])"
    assert said.endswith(call)
    assert eval(call, {"sh": sh}).uns["shoal"]["control"].tolist() == ["NT_1", "NT_2"]
    assert call in refused(path, "perturbation")


def test_a_usual_column_is_named_even_if_no_label_looks_like_a_control(tmp_path):
    path = plain(tmp_path, perturbation=["0", "1", "2"])
    said = refused(path)
    assert "'perturbation' (3 values, such as '0', '1')" in said
    assert said.endswith(f"sh.io.read({path!r}, 'perturbation', control='label')")


def test_labels_are_shown_as_they_are_written(tmp_path):
    adata = screens.counts(["x"] * 24)
    adata.obs = pd.DataFrame({"mine": np.arange(24) % 3}, index=adata.obs_names)
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert "'mine' (3 values, such as 0, 1)" in refused(str(tmp_path / "a.h5ad"))


def test_controls_that_were_named_and_are_not_there(tmp_path):
    path = plain(tmp_path, perturbation=["NT", "G1", "safe", "G2"])
    said = refused(path, control="NT,safe")
    assert "no column of a usual name holds 'NT,safe', as control= says" in said
    assert f"sh.io.read({path!r}, 'perturbation', control='NT')" in said


def test_a_label_with_blanks_is_the_same_label(tmp_path):
    path = plain(tmp_path, perturbation=["NT", " NT", "G1", "G2 "])
    adata = sh.io.read(path)
    assert adata.uns["shoal"]["control"].tolist() == ["NT"]
    assert sh.core._screen.labels(adata, sh.core._screen.resolve(adata)).is_control.sum() == 12


def test_nothing_but_controls(tmp_path):
    said = refused(plain(tmp_path, perturbation=["NT"], hash=["a", "b"]))
    assert "all cells are controls ('NT') by obs['perturbation']" in said


def test_no_cells(tmp_path):
    adata = screens.counts(["NT"] * 24)[:0].copy()
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert "holds no cells (12 genes)" in refused(str(tmp_path / "a.h5ad"))


def test_what_is_no_file_says_what_to_do():
    with pytest.raises(TypeError, match=r"not an AnnData: .* sh.pp.annotate"):
        sh.io.read(screens.counts(["NT"] * 24))
    with pytest.raises(ValueError, match="download it first"):
        sh.io.read("https://example.org/screen.h5ad")
