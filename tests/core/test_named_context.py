"""A context that a call names is one of the screen, or the error says which there are."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

import shoal as sh
from shoal.core._codes import codes_of
from shoal.core._named_context import named_context
from shoal.core._predicted_cells import inside_of
from shoal.core._screen import resolve


@pytest.fixture
def screen():
    adata = ad.AnnData(np.ones((24, 2)))
    adata.obs["target"] = np.tile(["control", "A"], 12)
    adata.obs["day"] = np.array([1.0, 1.0, 2.5, np.nan] * 6)
    sh.pp.annotate(adata, "target", control="control", context_key="day", missing="ignore")
    return adata


@pytest.mark.parametrize("context", ["1.0", 1.0])
def test_it_is_found(screen, context):
    contexts, code = codes_of(screen, "day")
    assert named_context(context, contexts, resolve(screen)) == "1.0"
    inside = inside_of(screen, resolve(screen), context)
    np.testing.assert_array_equal(inside, code == contexts.index("1.0"))


@pytest.mark.parametrize(
    ("context", "error", "words"),
    [
        ("nan", KeyError, r"'nan' is not in the contexts of the screen, which holds '1.0', '2.5'"),
        (["1.0"], TypeError, r"context must be one of '1.0', '2.5', not \['1.0'\]"),
    ],
)
def test_it_is_refused(screen, context, error, words):
    with pytest.raises(error, match=words):
        inside_of(screen, resolve(screen), context)
