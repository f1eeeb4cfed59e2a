"""The Screen: canonical names, which call means which column and control, and the group of every cell."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.core._screen import Screen, as_labels, labels, resolve


def cells(*values, dtype=object):
    obs = pd.DataFrame({"p": pd.Series(list(values), dtype=dtype)})
    obs.index = obs.index.astype(str)
    return ad.AnnData(np.ones((len(values), 2)), obs=obs)


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("A", "A"),
        ("B+A", "A+B"),
        ("A+B", "A+B"),
        ("B + A", "A+B"),
        ("A+A", "A"),
        ("A+NT", "A"),
        ("NT+A", "A"),
        ("other", "NT"),
        ("NT+other", "NT"),
        ("C+A+B", "A+B+C"),
        ("HLA-A/B", "HLA-A/B"),
        ("CD4+", "CD4+"),
        ("+", "+"),
    ],
)
def test_canonical_name(label, name):
    screen = Screen("p", ("NT", "other"), sep="+")
    assert screen.canonical(label) == name
    assert screen.canonical(name) == name, "a canonical name is its own"


def test_label_with_an_empty_part_is_not_merged_with_another():
    found = labels(cells("NT", "CD4", "CD4+"), Screen("p", ("NT",), sep="+"))
    assert list(found.names) == ["CD4", "CD4+"]


def test_doubled_control_is_dropped_from_combinations():
    screen = Screen("p", ("ctrl+ctrl",), sep="+")
    assert screen.canonical("A+ctrl") == screen.canonical("ctrl+A") == "A"
    assert screen.canonical("ctrl+ctrl") == "ctrl+ctrl"
    assert screen.canonical("ctrl") == "ctrl", (
        "a label that was not named as control is not made one"
    )


def test_parts():
    screen = Screen("p", ("NT",), sep="+")
    assert screen.parts("A+B") == ("A", "B")
    assert screen.parts("NT") == ()
    assert screen.parts("CD4+") == ("CD4+",)
    assert Screen("p", ("NT",), sep="").parts("A+B") == ("A+B",)
    assert Screen("p", ("NT",), sep="_").canonical("B_A") == "A_B"
    assert Screen("p", ("NT",), sep="").canonical("B+A") == "B+A"


def test_groups_of_cells():
    adata = cells("B+A", "NT", "A+B", "A", "other", "A+NT")
    found = labels(adata, Screen("p", ("NT", "other"), sep="+"))
    assert list(found.names) == ["A", "A+B"]
    assert list(found.code) == [1, 2, 1, 0, 2, 0]
    assert list(found.counts) == [2, 2]
    assert list(found.is_control) == [False, True, False, False, True, False]


def test_groups_do_not_depend_on_row_order_or_dtype(rng):
    values = rng.choice(["NT", "A", "B+A", "A+B"], 50)
    whole = cells(*values)
    screen = resolve(whole, "p", control="NT")
    order = rng.permutation(50)
    shuffled = labels(cells(*values[order]), screen)
    as_category = labels(cells(*values, dtype="category"), screen)
    plain = labels(whole, screen)
    assert list(shuffled.names) == list(plain.names) == list(as_category.names)
    np.testing.assert_array_equal(plain.code[order], shuffled.code)
    np.testing.assert_array_equal(plain.code, as_category.code)


def test_integer_labels_are_read_as_text():
    adata = cells(0, 1, 2, 1, dtype="int64")
    screen = resolve(adata, "p", control=0)
    assert screen.control == ("0",)
    assert list(labels(adata, screen).code) == [2, 0, 1, 0]


def test_unused_categories_are_no_perturbations():
    adata = cells("NT", "A", "B", dtype="category")[:2].copy()
    adata.obs["p"] = adata.obs["p"].cat.set_categories(["NT", "A", "B", "never"])
    assert list(labels(adata, Screen("p", ("NT",))).names) == ["A"]


def test_missing_labels():
    adata = cells("NT", "A", None, np.nan)
    with pytest.raises(ValueError, match=r"2 of 4 cells have no label .*missing='ignore'"):
        resolve(adata, "p", control="NT")
    sh.pp.annotate(adata, "p", control="NT", missing="ignore")
    assert list(labels(adata, resolve(adata)).code) == [1, 0, -1, -1]


def test_resolve_says_what_to_call():
    adata = cells("NT", "A")
    with pytest.raises(ValueError, match=r"sh\.pp\.annotate\(adata"):
        resolve(adata)
    with pytest.raises(ValueError, match="no label is guessed. The column holds 'NT', 'A'"):
        resolve(adata, "p")
    with pytest.raises(KeyError, match="'q' is not in adata.obs"):
        resolve(adata, "q", control="NT")
    with pytest.raises(KeyError, match="'q' is not in adata.obs"):
        resolve(adata, "q")


def test_what_is_given_wins_over_the_record():
    adata = cells("NT", "A", "B")
    adata.obs["q"] = ["x", "y", "y"]
    sh.pp.annotate(adata, "p", control="NT")
    assert resolve(adata).control == ("NT",)
    assert resolve(adata, "p").control == ("NT",)
    assert resolve(adata, control="A").control == ("A",)
    assert resolve(adata, "q", control="x").perturbation_key == "q"
    with pytest.raises(ValueError, match="which label of 'q' is the control"):
        resolve(adata, "q")


def test_foreign_record_is_refused():
    adata = cells("NT", "A")
    adata.uns["shoal"] = {"colour": "silver"}
    with pytest.raises(ValueError, match=r"not what sh\.pp\.annotate writes"):
        resolve(adata)


def test_as_labels():
    assert as_labels(["a", "b", "a"]) == ("a", "b")
    assert as_labels(np.array([1, 2])) == ("1", "2")
    assert as_labels("ab") == ("ab",)
    with pytest.raises(ValueError, match="control is empty"):
        as_labels([])


def test_record_round_trip():
    screen = Screen("p", ("NT", "a,b"), batch_key="batch", sep="", missing="ignore")
    assert Screen.from_uns(screen.to_uns()) == screen


# -- labels of every kind --------------------------------------------------------------------------


def test_labels_of_any_type():
    for values, control, expected in (
        ([b"NT", b"A", b"B"], b"NT", ["A", "B"]),
        ([0, 1, 2], 0, ["1", "2"]),
        ([0.0, 1.0, 2.5], 0.0, ["1.0", "2.5"]),
        ([True, False, False], True, ["False"]),
        (["NT", "A ", " A", "A"], "NT ", ["A"]),
    ):
        adata = cells(*values)
        screen = resolve(adata, "p", control=control)
        found = labels(adata, screen)
        assert list(found.names) == expected
        assert found.is_control.sum() == 1


@pytest.mark.parametrize("dtype", ["object", "category", "string", "string[pyarrow]"])
def test_text_of_any_kind(dtype):
    if "pyarrow" in dtype:
        pytest.importorskip("pyarrow", reason="pyarrow absent, its text untested")
    adata = cells("NT", "A", "B+A", None, dtype=dtype)
    sh.pp.annotate(adata, "p", control="NT", missing="ignore")
    found = labels(adata, resolve(adata))
    assert list(found.names) == ["A", "B+A"]
    assert list(found.code) == [2, 0, 1, -1]


def test_blank_text_is_no_label():
    adata = cells("NT", "A", "", "  ", None)
    with pytest.raises(ValueError, match=r"3 of 5 cells have no label .*2 of them hold blank text"):
        resolve(adata, "p", control="NT")
    sh.pp.annotate(adata, "p", control="NT", missing="ignore")
    assert list(labels(adata, resolve(adata)).code) == [1, 0, -1, -1, -1]
    named = resolve(cells("", " ", "A"), "p", control="")
    assert list(labels(cells("", " ", "A"), named).code) == [1, 1, 0], "unless it is the control"


def test_the_call_that_drops_blank_labels_does_so():
    adata = cells("NT", "A", "", " ", None)
    with pytest.raises(ValueError, match="cells have no label") as err:
        resolve(adata, "p", control="NT")
    call = str(err.value).split("adata = ")[1].split(", or leave")[0]
    kept = eval(call, {"adata": adata})
    assert list(kept.obs["p"]) == ["NT", "A"]


def test_doubled_and_numbered_columns():
    adata = cells("NT", "A")
    adata.obs[0] = adata.obs["p"]
    with pytest.raises(KeyError, match=r"column 0, whose name is a number.*astype\(str\)"):
        resolve(adata, 0, control="NT")
    adata.obs = pd.concat([adata.obs[["p"]], adata.obs[["p"]]], axis=1)
    with pytest.raises(ValueError, match=r"2 columns named 'p'.*columns\.duplicated\(\)"):
        resolve(adata, "p", control="NT")
    adata.obs = adata.obs.loc[:, ~adata.obs.columns.duplicated()].copy()
    assert resolve(adata, "p", control="NT").control == ("NT",)


def test_a_control_that_is_only_a_part():
    values = ("N0_N0", "N1__N0", "K_N0", "N0_K", "K_M", "M_N1")
    screen = resolve_with(values, control=["N0", "N1"], sep="_")
    found = labels(cells(*values), screen)
    assert list(found.names) == ["K_N0", "K_M", "M_N1"], "in the order of K, K_M, M"
    assert list(found.code) == [3, 3, 0, 0, 1, 2]
    with pytest.raises(KeyError, match=r"'N0' occurs in adata.obs\['p'\] only as a part.*sep='_'"):
        resolve_with(values, control="N0")
    with pytest.raises(ValueError, match=r"no cell .* is a control: 'N0' occurs only beside"):
        resolve_with(values[2:], control="N0", sep="_")
    with pytest.raises(KeyError, match="'N7' is not in"):
        resolve_with(values, control=["N0", "N7"], sep="_")


def resolve_with(values, *, control, sep="auto"):
    adata = cells(*values)
    sh.pp.annotate(adata, "p", control=control, sep=sep)
    return resolve(adata)


def test_ten_thousand_labels():
    names = [f"g{i}" for i in range(5000)]
    values = [
        "NT",
        *names,
        *(f"{b}+{a}" for a, b in zip(names, names[1:] + names[:1], strict=True)),
    ]
    adata = cells(*values)
    screen = resolve(adata, "p", control="NT")
    found = labels(adata, screen)
    assert len(found.names) == 10_000
    assert sum(len(screen.parts(name)) for name in found.names) == 15_000


# -- another column than the recorded one ----------------------------------------------------------


@pytest.fixture
def recorded():
    """A screen with a context, a batch, a guide and a dose, and a second column of labels."""
    adata = cells("NT", "A", "B", "NT")
    adata.obs = adata.obs.assign(
        lab=["x", "y", "x", "y"],
        line=["u", "u", "v", "v"],
        donor=["d", "e", "d", "e"],
        guide=["g", "h", "i", "j"],
        dose=[1.0, 2.0, 1.0, 2.0],
    )
    keys = {"context_key": "line", "batch_key": "donor", "guide_key": "guide", "dose_key": "dose"}
    sh.pp.annotate(adata, "p", control="NT", **keys)
    return adata


def test_recorded_columns_hold_for_any_column(recorded, caplog):
    screen = resolve(recorded, "lab", control="x")
    assert (screen.perturbation_key, screen.control) == ("lab", ("x",))
    assert (screen.context_key, screen.batch_key) == ("line", "donor")
    assert (screen.guide_key, screen.dose_key) == ("guide", "dose")
    assert sum("the annotated column" in text for text in caplog.messages) == 1
    assert "obs['lab'] is not the annotated column" in caplog.text
    assert "context 'line', batch 'donor', dose 'dose', guide 'guide'" in caplog.text
    caplog.clear()
    resolve(recorded)
    resolve(recorded, "p", control="A")
    resolve(recorded, "lab", control="x", tell=False)
    assert not caplog.messages


@pytest.mark.parametrize(
    ("column", "key"),
    [("line", "context"), ("donor", "batch"), ("guide", "guide"), ("dose", "dose")],
)
def test_a_recorded_column_that_is_named_itself_is_left_out(recorded, column, key, caplog):
    screen = resolve(recorded, column, control=recorded.obs[column].iloc[0])
    assert getattr(screen, f"{key}_key") is None
    others = {"context", "batch", "guide", "dose"} - {key}
    assert all(getattr(screen, f"{other}_key") is not None for other in others)
    assert f"the recorded {key}_key is this column and is left out" in caplog.text


@pytest.mark.parametrize("given", [{}, {"perturbation_key": "lab", "control": "x"}])
@pytest.mark.parametrize("column", ["line", "donor", "guide", "dose"])
def test_a_recorded_column_that_is_gone(recorded, column, given):
    del recorded.obs[column]
    with pytest.raises(KeyError, match=rf"'{column}' is not in .*call sh\.pp\.annotate again"):
        resolve(recorded, **given)


def test_the_separator_of_one_column_does_not_split_another():
    adata = cells("NT", "A_B", "A")
    adata.obs["guide"] = ["n", "A_1", "A_2"]
    sh.pp.annotate(adata, "p", control="NT", sep="_", batch_key=None)
    screen = resolve(adata, "guide", control="n")
    assert list(labels(adata, screen).names) == ["A_1", "A_2"]


@pytest.mark.parametrize(
    "control",
    [
        {"nt2", "NT", "a"},
        frozenset(["a", "nt2", "NT"]),
        ["NT", "a", "nt2"],
        pd.Series(["NT", "a", "nt2"]).astype("category").array,
        pd.Index(["NT", "a", "nt2"]),
        (label for label in ("NT", "a", "nt2")),
        {"NT": 0, "a": 1, "nt2": 2}.keys(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_several_controls_come_in_any_collection_and_in_one_order(control):
    assert as_labels(control) == ("NT", "a", "nt2")


@pytest.mark.parametrize("control", [None, np.nan, pd.NA, ["NT", None], [np.nan]])
def test_a_missing_value_is_no_control(control):
    with pytest.raises(ValueError, match=r"a control needs a label: .*fillna\('control'\)"):
        as_labels(control)
