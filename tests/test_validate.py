"""Checks of arguments: the message names the bad value and the valid ones."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from shoal._random import as_generator
from shoal._validate import between, whole
from shoal.core._order import stable_order


@pytest.mark.parametrize("value", ["3", None, True, 2.5, np.nan, np.inf, 0, -1, -(10**40)])
def test_a_number_of_things_is_whole_and_large_enough(value):
    with pytest.raises((TypeError, ValueError), match="n_draws must be a whole number"):
        whole(value, name="n_draws")


@pytest.mark.parametrize("value", ["0.5", None, np.nan, 0, 1, -0.1, np.inf])
def test_a_share_lies_inside_its_ends(value):
    with pytest.raises((TypeError, ValueError), match="level must be a number between 0 and 1"):
        between(value, 0, 1, name="level")


def test_good_numbers_of_any_type_pass():
    for value in (1, 3.0, np.int32(2), np.float32(4)):
        assert type(whole(value, name="n")) is int
    for value in (0, 1, 0.5, np.float32(0.5)):
        between(value, 0, 1, name="share", ends=True)


@pytest.mark.parametrize("rng", ["0", 1.5, True, -1, [1], np.random.RandomState(0)])
def test_rng_is_a_seed_or_a_generator(rng):
    with pytest.raises((TypeError, ValueError), match="rng must be a seed"):
        as_generator(rng)


def test_cells_have_one_order_whatever_the_order_of_the_rows():
    names = [f"c{i}" for i in range(12)]
    adata = ad.AnnData(np.zeros((12, 1)), obs=pd.DataFrame(index=names))
    shuffled = adata[np.random.default_rng(0).permutation(12)]
    ordered = [a.obs_names[stable_order(a)].tolist() for a in (adata, shuffled)]
    assert ordered[0] == ordered[1] == sorted(names)
