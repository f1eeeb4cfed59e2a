"""Plain data: every kind of value comes back as it was, and what cannot be kept is named."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from shoal.models.base._plain import from_plain, to_plain

MATRIX = sparse.random(5, 4, density=0.4, format="csr", random_state=0)
VALUES = {
    "numbers": [1, -2.5, float("inf"), 2**70, True, None, 1e-300],
    "text": ["", "g/1+g2", "naïve", "$"],
    "tuple": (1, ("a", [2, (3,)])),
    "mapping": {"a": {"b": (1,)}, "c": {}},
    "other keys": {1: "one", ("a", 2): np.arange(3), None: 0},
    "marked key": {"$": "array", "key": "x"},
    "arrays": [np.arange(6).reshape(2, 3), np.array(3.5), np.array(["x", "yz"]), np.zeros((0, 2))],
    "bytes kept": np.array([np.nan, -0.0, 1e-45], dtype=np.float32),
    "objects": np.array(["b", "a", None], dtype=object),
    "columns first": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "sparse": [MATRIX, MATRIX.tocsc(), sparse.csr_array(MATRIX), MATRIX.tocoo()],
    "table": pd.DataFrame(
        {"x": [1.5, np.nan], "name": ["a", "b"], 3: [True, False]},
        index=pd.Index(["r", "s"], name="rows"),
    ),
    "same names": pd.DataFrame([[1, 2.5]], columns=["a", "a"]),
    "same places": {"a.b": np.arange(2), "a": {"b": np.arange(3)}},
}


def assert_same(one, two):
    """Values, types, order of dimensions and bits are the same."""
    assert type(one) is type(two)
    if isinstance(one, dict):
        assert list(one) == list(two)
        one, two = list(one.values()), list(two.values())
    if isinstance(one, list | tuple):
        assert len(one) == len(two)
        for each, other in zip(one, two, strict=True):
            assert_same(each, other)
    elif sparse.issparse(one):
        assert (one.format, one.shape, one.dtype) == (two.format, two.shape, two.dtype)
        np.testing.assert_array_equal(one.toarray(), two.toarray())
    elif isinstance(one, np.ndarray):
        assert (one.dtype, one.shape, one.flags.f_contiguous) == (
            two.dtype,
            two.shape,
            two.flags.f_contiguous,
        )
        assert (
            one.tolist() == two.tolist() if one.dtype == object else one.tobytes() == two.tobytes()
        )
    elif isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, two, check_exact=True)
    else:
        assert one == two


@pytest.mark.parametrize("name", VALUES)
def test_a_value_comes_back_as_it_was(name):
    arrays = {}
    text = json.dumps(to_plain(VALUES[name], arrays))
    assert_same(VALUES[name], from_plain(json.loads(text), arrays))


def test_a_tensor_comes_back_as_one():
    torch = pytest.importorskip("torch", reason="networks need the extra 'models'")
    arrays, value = {}, torch.nn.Parameter(torch.tensor([[1.0, float("nan")]]))
    plain = to_plain({"weights": [value]}, arrays)
    assert list(arrays) == ["weights.0"]
    (back,) = from_plain(json.loads(json.dumps(plain)), arrays)["weights"]
    assert type(back) is torch.Tensor
    torch.testing.assert_close(back, value.detach(), equal_nan=True, rtol=0, atol=0)


def test_numbers_of_numpy_become_plain_ones():
    assert_same(
        to_plain([np.int64(3), np.float32(0.5), np.True_, np.str_("a")], {}), [3, 0.5, True, "a"]
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": [0, {"b": object}]}, r"a\.1\.b is a type, which a model file cannot hold"),
        (
            {"cells": {1, 2}},
            r"cells is a set.* it holds numbers, text, arrays.*The value is \{1, 2\}",
        ),
        ({"f": np.array([object()])}, r"f\.0 is a object"),
        (
            {"t": pd.DataFrame({"c": pd.Categorical(["a"])})},
            "the column 'c' of a table is categorical",
        ),
    ],
)
def test_what_cannot_be_kept_is_named(value, words):
    with pytest.raises(TypeError, match=words):
        to_plain(value, {})
