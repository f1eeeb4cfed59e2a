"""tl.evaluate refuses what cannot be scored, in words that name the fix, and writes nothing then; small conditions are listed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import shoal as sh
from shoal.metrics._suite import SUITE

from ..helpers import dense
from .tasks import FEW, TWINS, evaluated, give, held_out, screen

SIZES = (40, 40, 40, 40, 40, 40, 1, 2, 3, 5)


def refused(adata, error, match, **options):
    with pytest.raises(error, match=match):
        evaluated(adata, **options)
    assert "evaluation" not in adata.uns


# -- arguments ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"prediction": None}, TypeError, "name of a layer .* not NoneType"),
        ({"prediction": "nothing"}, KeyError, "'nothing' is not in adata.layers"),
        (
            {"prediction": "none.h5ad"},
            FileNotFoundError,
            "prediction='none.h5ad': there is no such",
        ),
        ({"layer": "nothing"}, KeyError, "'nothing' is not in adata.layers"),
        ({"metrics": ["energi"]}, KeyError, "Did you mean 'energy'"),
        ({"metrics": []}, ValueError, "metrics is empty"),
        ({"suite": "best"}, ValueError, "suite='best' is not known; choose one of 'calibrated'"),
        ({"baselines": ["mean_shft"]}, ValueError, "baselines=.*mean_shft.* is not known"),
        ({"split": "tset"}, ValueError, "split must be one of 'train', 'val', 'test'"),
        ({"split": "val"}, ValueError, r"no perturbed cell has obs\['split'\] == 'val'"),
        ({"min_cells": 3}, ValueError, "min_cells=3"),
        ({"min_cells": 41}, ValueError, "none of 6 conditions has 41 cells"),
        ({"n_comps": 0}, ValueError, "n_comps must be a whole number"),
    ],
    ids=str,
)
def test_bad_arguments(options, error, match):
    refused(screen(), error, match, **options)


def test_the_controls_as_a_baseline_are_the_row_that_is_there(caplog):
    adata = screen()
    evaluated(adata, baselines=["control"])
    assert "the baseline 'control' is the row 'control copy'" in caplog.text
    assert "control copy" in adata.uns["evaluation"]["contenders"].index


def panel(adata, genes):
    """Return the screen with as many genes as there are names, called so."""
    adata = adata[:, : len(genes)].copy()
    adata.var_names = genes
    return adata


def test_held_out_cells_without_a_context_are_of_none(caplog):
    adata = screen(contexts=2)
    adata = panel(adata, sorted(set(adata.obs["perturbation"][held_out(adata)])))
    adata.obs["context"] = adata.obs["context"].where(~held_out(adata))
    adata.uns["shoal"]["missing"] = "ignore"
    assert set(evaluated(adata)["conditions"]["context"]) == {""}
    assert "leave 0 of 6 genes: ranks" in caplog.text  # and not "0 (context_2)"


def test_a_combination_of_all_genes():
    adata = screen()
    parts = sorted(set(adata.obs["perturbation"][adata.obs["split"] == "train"]) - {"control"})[:2]
    pair = adata.obs["perturbation"][held_out(adata)].iloc[0]
    adata.obs["perturbation"] = adata.obs["perturbation"].astype(str).replace(pair, "+".join(parts))
    del adata.uns["shoal"]
    adata = panel(adata, parts)
    sh.pp.annotate(adata, "perturbation", control="control")
    result = evaluated(adata, metrics=[*FEW, "interaction_auprc"], n_comps=2)
    assert np.isnan(result["summary"].loc["interaction_auprc", "value"])


def test_a_screen_that_was_not_annotated():
    adata = screen()
    del adata.uns["shoal"]
    refused(adata, (KeyError, ValueError), "sh.pp.annotate")


def test_a_screen_without_controls():
    adata = screen()
    refused(
        adata[adata.obs["perturbation"] != "control"].copy(),
        KeyError,
        "'control' is not in adata.obs",
    )


# -- the layer -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_twins_that_are_not_finite(bad):
    adata = screen()
    values = dense(adata.X).copy()
    values[held_out(adata), 3] = bad
    give(adata, values)
    refused(
        adata,
        ValueError,
        r"layers\['twins'\] holds NaN or infinite values in 120 of 120 .* such as those of",
    )


def test_cells_without_a_twin():
    adata = screen()
    some = np.flatnonzero(held_out(adata))[:60]
    adata.obs.iloc[some, adata.obs.columns.get_loc(TWINS + "_predicted")] = False
    refused(adata, ValueError, "cells that are scored have no twin")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda x: x * 10, "predicted values are 10 times the real ones"),
        (np.expm1, "not logged"),
        (lambda x: np.zeros_like(x), "predicted values are all 0"),
        (np.rint, "counts"),
    ],
    ids=["x10", "not logged", "zeros", "whole numbers"],
)
def test_a_prediction_on_another_scale(change, match):
    adata = screen()
    give(adata, change(dense(adata.X)))
    refused(adata, ValueError, match)


def test_counts_as_real_values_are_refused():
    refused(screen(), ValueError, "raw counts; an evaluation takes log-norm", layer="counts")


# -- another AnnData -------------------------------------------------------------------------------------------------------


def test_predicted_cells_must_have_what_the_screen_has():
    adata = screen()
    pred = adata[held_out(adata)].copy()
    refused(
        adata, KeyError, "the prediction lacks 2 of the 60 genes", prediction=pred[:, 2:].copy()
    )
    nameless = pred.copy()
    del nameless.obs["perturbation"]
    refused(adata, KeyError, "'perturbation' is not in prediction.obs", prediction=nameless)
    few = pred[pred.obs.groupby("perturbation", observed=True).cumcount() < 1]
    refused(adata, ValueError, "6 conditions .* got 1 predicted cells", prediction=few)
    refused(adata, ValueError, "cells are compared, and not their mean", prediction=few)
    other = pred.copy()
    other.var_names = [f"ENSG{i:011d}" for i in range(other.n_vars)]
    refused(adata, KeyError, "other names, such as 'ENSG00000000000'", prediction=other)
    other.var_names = [*pred.var_names[:-2], "x", "y"]
    with pytest.raises(KeyError, match="lacks 2 of the 60 genes") as err:
        sh.tl.evaluate(adata, prediction=other)
    call = str(err.value).split("both have: ")[1].rstrip('"')
    assert eval(call, {"adata": adata, "prediction": other}).n_vars == 58
    refused(
        adata,
        ValueError,
        r"no control cells, labelled 'control' in its obs\['perturbation'\], .*add them",
        prediction=pred,
        suite="cell_eval",
        metrics=None,
    )
    broken = pred.copy()
    broken.X = dense(pred.X) * np.nan
    refused(adata, ValueError, r"prediction.X holds NaN", prediction=broken)
    large = pred.copy()
    large.X = pred.X * 10
    refused(adata, ValueError, "10 times the real ones", prediction=large)


def test_predicted_cells_must_have_the_context():
    adata = screen(contexts=2)
    pred = adata[held_out(adata)].copy()
    del pred.obs["context"]
    refused(adata, KeyError, "'context' is not in prediction.obs", prediction=pred)


# -- what is there but cannot be scored ----------------------------------------------------------------------------------


def test_small_conditions_are_listed_and_not_scored():
    adata = screen(sizes=SIZES)
    adata.obs["split"] = np.where(
        adata.obs["perturbation"].isin(["P01", "P02", "P03", "control"]), "train", "test"
    )
    adata.layers[TWINS] = adata.X.copy()
    adata.obs[TWINS + "_predicted"] = True
    entry = evaluated(adata)
    assert list(entry["table"].index) == ["P04", "P05", "P06"]
    listed = entry["missing"].set_index("condition").loc[["P07", "P08", "P09", "P10"], "reason"]
    assert list(listed) == [f"cells: {n}, fewer than min_cells=20" for n in (1, 2, 3, 5)]
    least = evaluated(adata, min_cells=5)
    assert list(least["table"].index) == ["P04", "P05", "P06", "P10"]
    assert least["conditions"].loc["P10", ["n_predicted", "n_real"]].tolist() == [2, 3]


def test_a_constant_prediction_is_scored_and_what_it_lacks_is_said():
    adata = screen()
    values = np.tile(
        dense(adata.X)[adata.obs["perturbation"] == "control"].mean(axis=0), (adata.n_obs, 1)
    )
    give(adata, values)
    entry = evaluated(adata, metrics=None, baselines=["mean_shift"])
    assert (entry["table"]["variance_ratio"] < 1e-6).all()
    assert entry["summary"].loc["pds_l2", "value"] == pytest.approx(
        (6 + 1) / 12
    )  # all are alike: chance
    assert (
        entry["summary"].loc["energy", "value"] > entry["contenders"].loc["control copy", "energy"]
    )
    assert entry["params"]["score"] < 0


def test_a_screen_without_a_significant_gene():
    adata = screen()
    rng = np.random.default_rng(0)
    x = dense(adata.X)
    adata.X = x[rng.permutation(adata.n_obs)]  # nothing is left of any effect
    give(adata, dense(adata.X)[rng.permutation(adata.n_obs)])
    entry = evaluated(adata, metrics=None)
    none = entry["conditions"].index[entry["conditions"]["n_de"] == 0]
    assert len(none) >= 4
    assert (
        entry["table"].loc[none, ["de_auprc", "de_recall", "de_lfc_spearman"]].isna().all(axis=None)
    )
    reasons = (
        entry["missing"]
        .query("metric == 'de_recall' and contender == 'prediction'")
        .set_index("condition")["reason"]
    )
    assert (reasons[none] == "no gene of the real cells is significant").all()


def test_where_nothing_discriminates_there_is_no_score():
    entry = evaluated(
        screen(), metrics=["additive_residual"], baselines=["mean_shift"]
    )  # there is no combination
    assert not entry["summary"]["discriminates"].any()
    assert np.isnan(entry["params"]["score"])


# -- metrics that fail -----------------------------------------------------------------------------------------------------


def test_a_metric_that_has_no_value_stops_no_other(monkeypatch):
    def broken(truth, guess):
        raise ValueError("no value today")

    both = {"energy": SUITE["energy"], "mae": replace(SUITE["mae"], compute=broken)}
    monkeypatch.setattr("shoal.evaluation._evaluate.SUITE", both)
    adata = screen()
    entry = evaluated(adata, metrics=None)
    assert entry["table"]["mae"].isna().all()
    assert entry["table"]["energy"].notna().all()
    assert set(entry["missing"].query("metric == 'mae'")["reason"]) == {"no value today"}
    assert np.isfinite(entry["params"]["score"])


def test_a_defect_of_a_metric_is_raised(monkeypatch):
    def broken(truth, guess):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(
        "shoal.evaluation._evaluate.SUITE", {"mae": replace(SUITE["mae"], compute=broken)}
    )
    refused(screen(), ZeroDivisionError, "a defect", metrics=None)


# -- baselines that cannot predict ---------------------------------------------------------------


def test_a_baseline_that_cannot_predict_is_listed():
    entry = evaluated(screen(), baselines=["additive", "mean_shift"], metrics=FEW[:1])
    assert entry["params"]["baselines"] == "mean_shift"
    refusals = entry["missing"].query("metric == '(all)'").set_index("contender")["reason"]
    assert "cannot be predicted by additive" in refusals["additive"]


def test_perturbations_that_are_no_gene_are_told_of(caplog):
    """Where some targets are masked and others are not, the others are named."""
    adata = screen()
    tested = sorted(set(adata.obs["perturbation"].astype(str)[held_out(adata)]))
    adata.var_names = [tested[0], *adata.var_names[1:]]
    with caplog.at_level("INFO", logger="shoal"):
        evaluated(adata)
    told = [text for text in caplog.messages if "are no gene of the data" in text]
    assert len(told) == 1
    assert f"of the perturbations, {len(tested) - 1} are no gene of the data" in told[0]
    assert tested[1] in told[0]
    assert f" {tested[0]}," not in told[0]


@pytest.mark.parametrize("named", [False, True])
def test_baselines_that_cannot_predict_are_told_in_one_line(caplog, named):
    """Why is in the table; of a baseline that was asked for by name it is said at once."""
    adata = screen()
    with caplog.at_level("INFO", logger="shoal"):
        evaluated(adata, baselines=["mean_shift", "additive", "nearest"] if named else "auto")
    missing = adata.uns["evaluation"]["missing"]
    refused = missing.loc[missing["metric"] == "(all)", "contender"].tolist()
    assert "additive" in refused
    told = [text for text in caplog.messages if "additive" in text and "same predicted" not in text]
    assert len(told) == 1
    if named:
        assert told[0].startswith("additive is left out: ")
    else:
        assert f", {len(refused)}: {', '.join(refused)};" in told[0]


def test_predicted_cells_whose_x_is_empty():
    adata = screen()
    cells = adata[held_out(adata)].copy()
    cells.layers["made"], cells.X = cells.X, None
    refused(adata, ValueError, "X of the prediction is empty.*hold .*'made'", prediction=cells)


def test_what_baselines_have_to_say_of_the_screen_is_said_once(caplog):
    """The held-out context has no control cell, and so three baselines fall back, each at every draw."""
    adata = screen(by="context", contexts=2)
    context = set(adata.obs["context"][held_out(adata)]).pop()
    bare = (adata.obs["perturbation"] == "control") & (adata.obs["context"] == context)
    adata = adata[~bare].copy()
    adata.obs["split"] = np.where(adata.obs["context"] == context, "test", "train")
    evaluated(adata, baselines=["perturbed_mean", "own_shift", "mean_shift"])
    said = [text for text in caplog.messages if context in text]
    assert len(said) == len(set(said)) > 1
    assert any("training, and no control cell is there: nothing tells" in text for text in said)
