"""pp.annotate on labels as files have them: what is read, what is said, and what a file keeps."""

from __future__ import annotations

import re

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from mudata import MuData

import shoal as sh
from shoal.core._screen import labels, resolve

DRUGS = [
    "(+)-JQ1",
    "ENMD-2076 L-(+)-Tartaric acid",
    "flurbiprofen-(+|-)",
    "atenolol-(+|-)",
    "JQ1",
    "non-targeting_+_0001",
    "stim_CD14+ Monocytes",
]


def cells(*names, control="control", n_control=40, n=30):
    """Return cells of every label, with values that differ between labels."""
    rng = np.random.default_rng(0)
    label = np.repeat([control, *names], [n_control, *[n] * len(names)])
    values = rng.normal(size=(len(label), 6))
    for i, name in enumerate(names):
        values[label == name, i % 6] += 3
    obs = pd.DataFrame({"p": label}, index=[f"cell{i}" for i in range(len(label))])
    return ad.AnnData(values, obs=obs)


def read(adata):
    """Return the parts of every perturbation of an annotated screen."""
    screen = resolve(adata)
    return {name: screen.parts(name) for name in labels(adata, screen).names}


def said(caplog):
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


# -- as they are written ---------------------------------------------------------------------------


def test_names_that_hold_a_plus_stay_everywhere(caplog):
    adata = cells(*DRUGS)
    sh.pp.annotate(adata, "p", control="control")
    (found,) = said(caplog)
    assert "holds 'non-targeting_+_0001', which is often a label of controls" in found
    sh.tl.coherence(adata, use_rep="X")
    sh.tl.distance(adata)
    sh.pp.embed(adata)
    for table in (
        adata.uns["coherence"]["table"],
        adata.uns["distance"]["table"],
        adata.uns["perturbation_embeddings"]["one_hot"],
    ):
        assert sorted(table.index) == sorted(DRUGS)
    sh.pp.split(adata, by="perturbation", test=["(+)-JQ1", "non-targeting_+_0001"])
    assert sorted(adata.uns["split"]["units"].index) == ["(+)-JQ1", "non-targeting_+_0001"]
    model = sh.tl.fit(adata, "mean_shift")
    assert list(model.predict("(+)-JQ1", n_cells=2).obs["p"]) == ["(+)-JQ1"] * 2


@pytest.mark.parametrize("fmt", ["h5ad", "zarr"])
def test_the_reading_survives_a_file_and_a_subset(tmp_path, fmt):
    adata = cells("A", "B+A", "C+B", "CD4+T", "(+)-D")
    sh.pp.annotate(adata, "p", control="control")
    expected = {
        "(+)-D": ("(+)-D",),
        "A": ("A",),
        "B+A": ("A", "B"),
        "C+B": ("B", "C"),
        "CD4+T": ("CD4+T",),
    }
    assert read(adata) == expected
    getattr(adata, f"write_{fmt}")(tmp_path / "screen")
    again = getattr(ad, f"read_{fmt}")(tmp_path / "screen")
    assert resolve(again) == resolve(adata)
    for kept in (["B+A"], ["C+B"], ["CD4+T", "(+)-D"]):
        part = again[again.obs["p"].isin(["control", *kept])].copy()
        assert read(part) == {name: expected[name] for name in sorted(kept)}
    later = again[again.obs["p"].isin(["control", "A", "CD4+T"])].copy()
    later.obs["p"] = later.obs["p"].astype(str).replace({"A": "CD4"})
    assert read(later)["CD4+T"] == ("CD4+T",), "a name stays a name"


def test_labels_without_a_plus_need_no_record():
    adata = cells("A", "B")
    sh.pp.annotate(adata, "p", control="control")
    assert list(adata.uns["shoal"]) == ["perturbation_key", "control", "sep", "missing"]


def test_two_spellings_are_one_perturbation(caplog):
    adata = cells("A", "A+B", "B+A")
    adata.obs.iloc[-1, 0] = "A+B"
    sh.pp.annotate(adata, "p", control="control")
    assert read(adata) == {"A": ("A",), "A+B": ("A", "B")}
    (text,) = said(caplog)
    assert "'A+B' and 'B+A'; each is one perturbation, shown as 'A+B'" in text
    rare = adata[adata.obs["p"] != "A+B"].copy()
    assert list(read(rare)) == ["A", "A+B"], "the name is that of the whole screen"


def test_labels_joined_with_the_control():
    """As GEARS writes them: a single perturbation keeps its label, and is its part."""
    adata = cells("A+ctrl", "ctrl+B", "A+B", "C+ctrl", control="ctrl")
    sh.pp.annotate(adata, "p", control="ctrl")
    parts = {"A+B": ("A", "B"), "A+ctrl": ("A",), "C+ctrl": ("C",), "ctrl+B": ("B",)}
    assert read(adata) == parts
    sh.pp.embed(adata)
    assert list(adata.uns["perturbation_embeddings"]["one_hot"].index) == ["A", "B", "C"]
    sh.pp.split(adata, by="combination", test=["B+A"])
    assert list(adata.uns["split"]["units"].index) == ["A+B"]
    assert adata.uns["split"]["table"].loc["parts_seen", "detail"].endswith("2 seen: 1")
    for asked in ("C", "C+ctrl", "ctrl+C"):
        sh.pp.split(adata, by="perturbation", test=[asked])
        assert list(adata.uns["split"]["units"].index) == ["C+ctrl"]


def test_held_out_parts_are_found_through_the_control():
    adata = cells("A+ctrl", "ctrl+B", "A+B", "C+ctrl", control="ctrl")
    sh.pp.annotate(adata, "p", control="ctrl")
    adata.obs["split"] = np.where(adata.obs["p"] == "A+ctrl", "test", "train")
    from shoal.pp._audit import audit

    assert audit(adata, resolve(adata)).loc["held_out_part", "status"] == "leak"


# -- what is said ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["A+B", "C+D"], r"2 labels hold '\+', as 'A\+B', 'C\+D', .*annotate.*sep='\+'\)"),
        (["A", "B", "A_B"], r"1 labels look like combinations joined by '_', as 'A_B'.*sep='_'\)"),
        (["A", "B", "A|B"], r"joined by '\|'.*sep='\|'\)"),
        (["A", "B", "A; B"], r"joined by ';'.*sep=';'\)"),
        (["A", " A", "B"], r"1 labels begin or end with a blank, as ' A'"),
        (["stat1", "STAT1"], "differ from another by case alone, such as 'STAT1' and 'stat1'"),
        (["Control", "A"], r"such as 'control' and 'Control'.*replace\(\{'Control': 'control'\}\)"),
        (["Control", "CONTROL", "A"], r"2 names.*\{'CONTROL': 'control', 'Control': 'control'\}\)"),
        (
            ["A", "untreated", "NT_1"],
            r"'NT_1', 'untreated', which is often a label of controls.*"
            r"'p', control=\['control', 'NT_1', 'untreated'\]\)$",
        ),
        (["A", "A+ctrl"], r"'ctrl' \(as in 'A\+ctrl'\), .*control=\['control', 'ctrl'\]\)$"),
        ([f"NT_{i:02d}" for i in range(15)], r"'NT_11', \.\.\.\]\)$"),
        (["nan", "None", "<NA>", "NA", "A"], r"4 labels read like missing values.*\.mask\("),
        (["A", "A+nan"], r"1 labels read like missing values.*'A\+nan'"),
    ],
)
def test_each_thing_is_said_once(names, text, caplog):
    adata = cells(*names)
    sh.pp.annotate(adata, "p", control="control")
    found = said(caplog)
    assert len(found) == 1
    assert pd.Series(found).str.contains(text, regex=True).all()
    caplog.clear()
    sh.tl.coherence(adata, use_rep="X")
    sh.tl.fit(adata, "mean_shift")
    assert not said(caplog), "only when it is annotated"


def test_the_call_that_makes_labels_missing_does_so(caplog):
    adata = cells("nan", "None", "A")
    sh.pp.annotate(adata, "p", control="control")
    assert list(read(adata)) == ["A", "None", "nan"]
    call = said(caplog)[0].split("say so: ")[1].split(" = ", 1)[1]
    adata.obs["p"] = eval(call, {"adata": adata})
    sh.pp.annotate(adata, "p", control="control", missing="ignore")
    assert list(read(adata)) == ["A"]
    assert (labels(adata, resolve(adata)).code == -1).sum() == 60


def test_a_control_may_read_like_a_missing_value(caplog):
    adata = cells("A", control="none")
    sh.pp.annotate(adata, "p", control="none")
    assert not said(caplog)


def test_blank_labels(caplog):
    adata = cells("", " ", "A")
    with pytest.raises(ValueError, match="60 of 130 cells have no label"):
        sh.pp.annotate(adata, "p", control="control")
    assert "shoal" not in adata.uns
    caplog.clear()
    sh.pp.annotate(adata, "p", control="control", missing="ignore")
    assert any("60 cells hold blank text, which is no label" in text for text in said(caplog))
    assert list(read(adata)) == ["A"]


def test_a_column_that_was_not_annotated_is_said_at_the_call(caplog):
    adata = cells("A", "B", "A_B")
    sh.tl.coherence(adata, "p", control="control", use_rep="X")
    assert any("joined by '_'" in text for text in said(caplog))


GROUPS = {"context_key": "contexts", "batch_key": "batches", "guide_key": "guides"}


@pytest.mark.parametrize(("argument", "what"), GROUPS.items())
@pytest.mark.parametrize(
    ("values", "text"),
    [
        (["x", "nan"], r"'nan', 50 cells, read like missing values, and are taken as {what}\."),
        (["x", " "], r"' ', 50 cells, read like missing values"),
        (["x", "None", "NA"], r"'NA', 'None', 66 cells, read like missing values"),
        (["x", "X"], r"1 {what} differ from another by case or blanks alone, such as 'X' and 'x'"),
        (["x", "x ", "y"], r"1 {what} differ from another by case or blanks alone, such as 'x'"),
    ],
)
def test_groups_by_mistake_are_told_with_the_call_that_mends_them(
    argument, what, values, text, caplog
):
    """Contexts, batches and guides: texts for missing values, and two spellings of one."""
    adata = cells("A", "B")
    adata.obs["k"] = np.resize(values, adata.n_obs)
    sh.pp.annotate(adata, "p", control="control", **{argument: "k"})
    found, *crossed = said(caplog)
    assert len(crossed) == (argument == "guide_key")
    assert re.search(text.format(what=what), found)
    call = re.search(r"adata\.obs\['k'\] = (.*)$", found).group(1)
    adata.obs["k"] = eval(call, {"adata": adata})
    assert adata.obs["k"].nunique() == len(
        {v.strip().lower() for v in values} - {"", "nan", "none", "na"}
    )
    caplog.clear()
    sh.pp.annotate(adata, "p", control="control", **{argument: "k"})
    assert len(said(caplog)) == len(crossed)


def test_guides_of_several_perturbations_are_told_of(caplog):
    """As where a stimulation is taken for the perturbation, or the first guide of a pair for both."""
    adata = cells("A", "B")
    which = np.arange(adata.n_obs) % 2
    adata.obs["own"] = [f"{name}_{i}" for name, i in zip(adata.obs["p"], which, strict=True)]
    adata.obs.loc[adata.obs["p"] == "B", "own"] = None  # not every cell has a guide
    sh.pp.annotate(adata, "p", control="control", guide_key="own")
    assert not said(caplog)
    adata.obs["other"] = which
    sh.pp.annotate(adata, "p", control="control", guide_key="other")
    (found,) = said(caplog)
    assert "most guides belong to several perturbations; cells of one value, such as '0'" in found


@pytest.mark.parametrize("values", [[1, 2], ["none", "drug"], ["x", np.nan], [True, False]])
def test_honest_groups_are_not_told_of(values, caplog):
    adata = cells("A", "B")
    adata.obs["k"] = pd.Series([values[i % 2] for i in range(adata.n_obs)], index=adata.obs_names)
    sh.pp.annotate(adata, "p", control="control", batch_key="k")
    assert not said(caplog)


def test_next_to_no_controls_are_told_of(caplog):
    sh.pp.annotate(cells("A", "B", n_control=5), "p", control="control")
    assert not said(caplog)
    sh.pp.annotate(cells("A", "B", n_control=2), "p", control="control")
    assert "the screen has 2 control cells" in said(caplog)[0]


def test_joined_by_an_underscore():
    """With the separator that is named, parts are held out with their combinations."""
    adata = cells("KLF1", "MAP2K6", "CEBPA", "KLF1_MAP2K6", "CEBPA_KLF1")
    sh.pp.annotate(adata, "p", control="control", sep="_")
    sh.pp.split(adata, by="perturbation", test=["KLF1"])
    held = adata.obs.groupby("p")["split"].agg(lambda side: side.iloc[0])
    assert set(held.index[held == "test"]) == {"KLF1", "KLF1_MAP2K6", "CEBPA_KLF1"}


# -- what is refused -------------------------------------------------------------------------------


def test_labels_in_the_table_of_the_whole_mudata():
    rna = cells("A", "B")
    label = rna.obs.pop("p")
    mdata = MuData({"rna": rna})
    mdata.obs["target"] = label.to_numpy()
    with pytest.raises(KeyError, match="is a column of mdata.obs") as err:
        sh.pp.annotate(mdata, "target", control="control", mod="rna")
    exec(str(err.value).split("copy it with ")[1].rstrip('"'), {"mdata": mdata})
    sh.pp.annotate(mdata, "target", control="control", mod="rna")
    assert list(read(mdata["rna"])) == ["A", "B"]


@pytest.mark.parametrize("key", ["context_key", "batch_key"])
def test_the_column_of_perturbations_is_no_context(key):
    with pytest.raises(ValueError, match=f"{key}='p' is the column of the perturbations"):
        sh.pp.annotate(cells("A"), "p", control="control", **{key: "p"})


def test_controls_only_and_one_control():
    adata = cells("A", "B")
    sh.pp.annotate(adata, "p", control="control")
    only = adata[adata.obs["p"] == "control"].copy()
    for call in (
        lambda a: sh.tl.coherence(a, use_rep="X"),
        sh.tl.distance,
        sh.pp.split,
        lambda a: sh.pp.annotate(a, "p", control="control"),
    ):
        with pytest.raises(ValueError, match=r"every cell of adata.obs\['p'\] is a control"):
            call(only)
    sh.tl.coherence_null(only, n_cells=[10], n_draws=3, use_rep="X")
    one = adata[39:].copy()
    with pytest.raises(ValueError, match="the screen has 1 control cells, and 5 are needed"):
        sh.tl.coherence(one, use_rep="X", strata=None)


def test_controls_of_several_strata_alone_have_a_null():
    adata = cells("A")
    adata.obs["donor"] = np.where(np.arange(adata.n_obs) % 2, "d", "e")
    sh.pp.annotate(adata, "p", control="control", batch_key="donor")
    only = adata[adata.obs["p"] == "control"].copy()
    sh.tl.coherence_null(only, n_cells=[10], n_draws=3, use_rep="X")
    assert len(only.uns["coherence_null"]["table"]) == 3


@pytest.mark.parametrize("name", ["batch", "p"])
def test_an_index_named_like_a_column(name):
    adata = cells("A", "B")
    adata.obs["batch"] = np.where(np.arange(adata.n_obs) % 2, "d", "e")
    plain = adata.copy()
    adata.obs.index.name = name
    for each in (adata, plain):
        sh.pp.annotate(each, "p", control="control", batch_key="batch")
        sh.tl.coherence(each, use_rep="X")
        sh.tl.distance(each)
        sh.pp.split(each, by="perturbation", test=["A"])
        sh.pp.embed(each, method="effects", missing="drop")
        sh.tl.fit(each, "own_shift")
    for key in ("coherence", "distance"):
        pd.testing.assert_frame_equal(adata.uns[key]["table"], plain.uns[key]["table"])


# -- real labels -----------------------------------------------------------------------------------


def test_norman(read_real, caplog):
    adata = read_real("norman19_perturbench.h5ad")
    sh.pp.annotate(adata, "perturbation", control="control")
    assert not said(caplog)
    found = read(adata)
    assert sorted(found) == sorted(set(adata.obs["perturbation"].astype(str)) - {"control"})
    assert sum(len(parts) == 2 for parts in found.values()) == 15
    renamed = adata.obs["perturbation"].astype(str).str.replace("+", "_")
    adata.obs["joined"] = renamed.to_numpy()
    sh.pp.filter(adata, "joined", control="control", min_cells=1)
    assert any("joined by '_'" in text and "sep='_'" in text for text in said(caplog))
