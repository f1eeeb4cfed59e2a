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
