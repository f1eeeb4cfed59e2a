"""Labels and tables with names: what does not belong together is refused."""

import numpy as np
import pandas as pd
import pytest
from tests.metrics.test_inputs import arrays_of, call, parameters_of, valid, with_any

from shoal import metrics


@pytest.mark.parametrize("name", with_any({"group", "owner", "label"}))
def test_numbers_among_names_are_names(name):
    arguments = valid(name)
    key = next(k for k in ("group", "owner", "label") if k in parameters_of(name))
    n = len(arguments[arrays_of(name)[0]])
    mixed = ["1" if i % 2 else "x" for i in range(n)]
    expected = call(name, arguments | {key: mixed})
    objects = np.array([1 if i % 2 else "x" for i in range(n)], dtype=object)
    np.testing.assert_array_equal(call(name, arguments | {key: objects}), expected)


@pytest.mark.parametrize("kind", ["label", "unit"])
def test_names_and_numbers_that_are_never_equal_are_refused(kind):
    """Otherwise no reference would be of the query's own well, and none would be left out."""
    profiles, label = np.eye(4), np.array(["a", "a", "b", "b"])
    given = {"query_label": label, "reference_label": label}
    given |= {"query_unit": np.arange(4), "reference_unit": np.arange(4)}
    given |= {f"query_{kind}": np.arange(4), f"reference_{kind}": np.arange(4).astype(str)}
    with pytest.raises(ValueError, match=f"reference_{kind} holds names and query_{kind} numbers"):
        metrics.top_k_accuracy(profiles, profiles, **given)


def test_text_in_a_column_of_objects_is_no_number():
    with pytest.raises(TypeError, match="real must be an array of real numbers, not text"):
        metrics.mae(np.ones((1, 2)), np.array([["1", "2"]], dtype=object))


def test_tables_of_other_conditions_are_refused():
    means = pd.DataFrame(np.eye(3), index=["P1", "P2", "P3"])
    other = means.set_axis(["P2", "P3", "P4"])
    with pytest.raises(
        ValueError, match=r"predicted and real are tables whose rows .*reindex_like"
    ):
        metrics.mae(means, other)
    assert metrics.mae(means, means.reset_index(drop=True)).tolist() == [0, 0, 0]
    assert metrics.energy_distance(means, other) == pytest.approx(
        0, abs=2
    )  # cells, in part the same


def test_labels_in_another_order_than_their_profiles_are_refused():
    rows, other = ["w1", "w2", "w3"], ["w3", "w2", "w1"]
    profiles, label = pd.DataFrame(np.eye(3), index=rows), pd.Series(list("abc"), index=rows)
    query = profiles.set_axis(["q1", "q2", "q3"])
    with pytest.raises(ValueError, match="reference and reference_label are tables whose rows"):
        metrics.retrieval_precision(
            query, profiles, query_label=list("abc"), reference_label=label.loc[other]
        )


def test_a_set_of_genes_in_another_order_is_refused():
    cells = pd.DataFrame(np.random.default_rng(0).random((9, 3)), columns=list("abc"))
    genes = pd.Series([True, False, False], index=list("abc"))
    assert metrics.program_spread(cells, genes) > 0
    for wrong in (genes[::-1], genes.set_axis(list("bcd"))):
        with pytest.raises(ValueError, match=r"X and genes are tables whose columns.*X.columns"):
            metrics.program_spread(cells, wrong)
