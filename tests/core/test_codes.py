"""Groups from one sort, and rows as text."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from shoal.core._codes import check_distinct, grouped, joined, members, places


def test_groups_are_the_distinct_rows_and_missing_values_are_alike():
    a, b = np.array([2.0, np.nan, 2.0, np.nan, 1.0]), np.array([0, 1, 0, 1, 0])
    code, keys = grouped(a=a, b=b)
    assert code.tolist() == [1, 2, 1, 2, 0]
    np.testing.assert_array_equal(keys["a"], [1.0, 2.0, np.nan])
    assert [at.tolist() for at in members(code)] == [[4], [0, 2], [1, 3]]


def test_rows_become_text_whatever_is_missing_and_whatever_kind_the_columns_are():
    table = pd.DataFrame(
        {
            "plate": pd.Categorical(["p1", None, "p2"]),
            "day": [1, 2, 3],
            "dose": [0.5, np.nan, 1.0],
            "text": pd.Series(["x", "y", None], dtype="str"),
        }
    )
    code, names = joined(table)
    assert names == sorted(names)
    assert [names[i] for i in code] == [
        "p1 | 1 | 0.5 | x",
        "nan | 2 | nan | y",
        "p2 | 3 | 1.0 | " + str(table["text"].astype(object)[2]),
    ]
    code, names = joined(table[["day"]])
    assert (code.tolist(), names) == ([0, 1, 2], ["1", "2", "3"])


def test_rows_are_told_apart_by_their_columns_and_not_by_their_text():
    table = pd.DataFrame({"one": ["a | b", "a", "a"], "two": ["c", "b | c", "b | c"]})
    code, names = joined(table)
    assert code[1] == code[2] != code[0]
    assert names == ["a | b | c"] * 2
    np.testing.assert_array_equal(joined(table[::-1])[0], code[::-1])


def test_two_things_of_one_name_are_refused():
    check_distinct(["a | b", "c"], [("a", "b"), ("c",)])
    with pytest.raises(
        ValueError, match=r"'a \| b' would be the name of both 'a', 'b' and 'a \| b'"
    ):
        check_distinct(["a | b", "a | b"], [("a", "b"), ("a | b",)])


def test_places_in_a_list_that_was_cut_out_of_one_with_repeats():
    names = pd.Index(["a", "b", "a"])
    assert not names.is_unique  # pandas 2 hands this on to what is cut out
    part = names[:2]
    assert places(part, ["b", "c", "a"]).tolist() == [1, -1, 0]
    assert places([], ["a"]).tolist() == [-1]
    assert places(["a"], []).tolist() == []
