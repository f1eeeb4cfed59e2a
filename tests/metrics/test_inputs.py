"""What the public statistics take: any storage of the same numbers gives one result, nonsense a clear error.

The same inputs go into every function of `metrics.__all__`, as its signature asks for them.
"""

import inspect
import traceback
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import shoal
from shoal import metrics

HERE = Path(shoal.__file__).parent
CELLS = (
    "bimodality_error",
    "correlation_error",
    "correlation_similarity",
    "coherence",
    "coherence_error",
    "edistance",
    "energy_distance",
    "frechet_distance",
    "kernel_distance",
    "mmd",
    "library_spread",
    "mean_squared_correlation",
    "median_bandwidth",
    "program_spread",
    "sinkhorn",
    "sliced_wasserstein",
    "variance_ratio",
    "wasserstein_per_gene",
    "zero_fraction_error",
)
VECTORS = (
    "bds",
    "drf",
    "hits_recall_budget",
    "hits_recall_fdr",
    "magnitude_error",
    "magnitude_spearman",
    "pearson_delta",
    "paired_difference",
    "skill",
)


def valid(name: str) -> dict:
    """Return arguments that a function takes, all of them float64 arrays."""
    rng = np.random.default_rng(0)
    parameters = parameters_of(name)
    found = {}
    for key, parameter in parameters.items():
        kind = str(parameter.annotation).removesuffix(" | None")
        if key in ("mask", "labels", "covariates"):
            continue
        if key in ("label", "query_label", "reference_label"):
            found[key] = np.arange(6) % 2
        elif key == "genes":
            found[key] = np.arange(5) < 2
        elif key == "counts":
            found[key] = np.full(6, 9)
        elif key == "hit_real":
            found[key] = np.arange(12) % 3 == 0
        elif kind == "Sequence[Matrix]":
            found[key] = [rng.normal(size=(5, 4)) for _ in range(3)]
        elif kind in ("Floats", "Matrix") and name in CELLS:
            found[key] = np.maximum(rng.normal(0.3, 1, size=(30, 5)), 0) + (
                key in ("X", "predicted")
            )
        elif kind == "Floats" and name in VECTORS:
            found[key] = rng.uniform(0.5, 2, size=12)
        elif key == "threshold":
            found[key] = 0.8
        elif name == "partial_association":
            found |= {
                "response": rng.normal(size=40),
                "scores": rng.normal(size=(40, 2)),
                "magnitude": rng.uniform(size=40),
                "rng": np.random.default_rng(0),
                "n_perms": 19,
            }
        elif key.endswith("fdr"):
            found[key] = rng.uniform(0, 0.2, size=(6, 8))
        elif key in ("weights", "squares", "halves"):
            found[key] = rng.uniform(0.1, 0.9, size=(6, 8)) + 50 * (key == "squares")
        elif kind in ("Floats", "Floats | float"):
            found[key] = rng.normal(size=(6, 8))
    return found


def flat(result) -> np.ndarray:
    """Return the numbers of a result as one array."""
    if hasattr(result, "__dataclass_fields__"):
        parts = [getattr(result, name) for name in result.__dataclass_fields__]
        return np.concatenate([flat(part) for part in parts if not isinstance(part, str)])
    return np.atleast_1d(np.asarray(result, dtype=float)).ravel()


class Foreign:
    """An error of another library, which tells a user nothing."""

    def __init__(self, said):
        self.said = said

    def __repr__(self):
        return self.said


def call(name, arguments):
    """Return the numbers, or the error if it is one of our own, or `Foreign`."""
    if isinstance(arguments.get("rng"), np.random.Generator):
        arguments = {**arguments, "rng": np.random.default_rng(0)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return flat(getattr(metrics, name)(**arguments))
        except (TypeError, ValueError) as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            ours = Path(last.filename).is_relative_to(HERE) and last.line.startswith("raise")
            return error if ours else Foreign(f"{last.filename}: {error!r}")


def parameters_of(name):
    return inspect.signature(getattr(metrics, name)).parameters


def with_any(keys: set[str]) -> list[str]:
    """Return the functions that have one of these arguments."""
    return [name for name in metrics.__all__ if keys & set(parameters_of(name))]


def arrays_of(name):
    parameters = parameters_of(name)
    kinds = ("Floats", "Matrix", "Floats | float", "Sequence[Matrix]")
    found = [k for k in valid(name) if str(parameters[k].annotation) in kinds]
    assert found, f"no array of {name} is known here"
    return found


def each(change):
    """Return a function that changes one argument, or the first of several populations."""
    return lambda value: (
        [change(value[0]), *value[1:]] if isinstance(value, list) else change(value)
    )


def broken_order(values):
    kept = sparse.csr_matrix(values)
    for i in range(kept.shape[0]):
        at = slice(kept.indptr[i], kept.indptr[i + 1])
        kept.indices[at], kept.data[at] = kept.indices[at][::-1].copy(), kept.data[at][::-1].copy()
    kept.has_sorted_indices = False
    return kept


def with_zeros(values):
    kept = sparse.csr_matrix(np.where(values == 0, 7.0, values))
    kept.data[kept.data == 7.0] = 0
    return kept


def twice(values):
    rows, columns = np.nonzero(values)
    half = values[rows, columns] / 2
    place = (np.concatenate([rows, rows]), np.concatenate([columns, columns]))
    made = sparse.coo_matrix((np.concatenate([half, half]), place), values.shape)
    n = np.bincount(made.row, minlength=values.shape[0])
    order = np.argsort(made.row, kind="stable")
    indptr = np.concatenate([[0], np.cumsum(n)])
    return sparse.csr_matrix((made.data[order], made.col[order], indptr), values.shape)


SAME = {
    "list": lambda v: v.tolist(),
    "tuple": lambda v: tuple(map(tuple, v.tolist())) if v.ndim == 2 else tuple(v.tolist()),
    "table": lambda v: pd.DataFrame(v) if v.ndim == 2 else pd.Series(v),
    "objects": lambda v: v.astype(object),
    "big-endian": lambda v: v.astype(">f8"),
    "fortran": np.asfortranarray,
    "reversed view": lambda v: v[::-1].copy()[::-1],
    "read-only": lambda v: (v := v.copy(), v.setflags(write=False))[0],
    "longdouble": lambda v: v.astype(np.longdouble),
    "float32": lambda v: v.astype(np.float32),
}
SPARSE = {
    "csr": sparse.csr_matrix,
    "csc": sparse.csc_matrix,
    "coo": sparse.coo_matrix,
    "csr_array": sparse.csr_array,
    "unsorted": broken_order,
    "explicit zeros": with_zeros,
    "duplicate entries": twice,
}


@pytest.mark.parametrize("name", metrics.__all__)
def test_any_storage_gives_the_same_numbers(name):
    arguments = valid(name)
    expected = call(name, arguments)
    assert not isinstance(expected, Exception)
    assert np.isfinite(expected).any()
    for keys in ([k] for k in arrays_of(name)):
        for how, change in {**SAME, **SPARSE}.items():
            if how in SPARSE and any(np.ndim(arguments[k]) == 1 for k in keys):
                continue
            found = call(name, arguments | {k: each(change)(arguments[k]) for k in keys})
            rtol = 2e-3 if how == "float32" else 1e-6
            assert not isinstance(found, Exception), (keys, how, found)
            np.testing.assert_allclose(
                found, expected, rtol=rtol, atol=rtol, err_msg=f"{keys} {how}"
            )


@pytest.mark.parametrize("name", metrics.__all__)
def test_whole_numbers_do_not_overflow(name):
    arguments = valid(name)
    whole = {
        k: np.floor(100 * np.abs(arguments[k]))
        for k in arrays_of(name)
        if "fdr" not in k and k != "halves"
    }
    expected = call(name, arguments | whole)
    for dtype in (np.uint8, np.int16, np.float16):
        few = {k: np.minimum(v, 250) for k, v in whole.items()}
        found = call(name, arguments | {k: v.astype(dtype) for k, v in few.items()})
        expected = call(name, arguments | few)
        if isinstance(expected, Exception):
            assert str(found) == str(expected)
        else:
            np.testing.assert_allclose(found, expected, rtol=1e-9, err_msg=str(dtype))


def one(value, new):
    changed = value.copy()
    changed[(0,) * value.ndim] = new
    return changed


BAD = {
    "complex": lambda v: v + 1j,
    "text": lambda v: v.astype(str),
    "words": lambda v: [["word"]] if v.ndim == 2 else ["word"],
    "a text": lambda v: "values",
    "None": lambda v: None,
    "a number": lambda v: 3.0,
    "dates": lambda v: v.astype("datetime64[s]"),
    "ragged": lambda v: [[1.0, 2.0], [3.0]],
    "masked": lambda v: np.ma.masked_array(v, mask=v == v.flat[0]),
    "three axes": lambda v: v[None, None] if v.ndim == 1 else v[None],
    "a mapping": lambda v: {"a": v},
}
UNLESS_NAN = {  # an error of ours, or a result that says that it is not known
    "NaN": lambda v: one(v, np.nan),
    "inf": lambda v: one(v, np.inf),
    "-inf": lambda v: one(v, -np.inf),
    "empty": lambda v: v[:0],
    "no columns": lambda v: v[..., :0],
    "one row": lambda v: v[:1],
}
SKIPS = {  # documented: these values are known to be missing, and are left out
    ("NaN", "skill"),
    ("NaN", "paired_difference"),
    ("NaN", "bds"),
    ("NaN", "drf"),
    ("NaN", "magnitude_spearman"),
    ("NaN", "gene_weights"),
    ("inf", "gene_weights"),
    ("-inf", "gene_weights"),
}


@pytest.mark.parametrize("name", metrics.__all__)
def test_what_is_no_array_of_numbers_is_refused(name):
    arguments = valid(name)
    for key in arrays_of(name):
        for how, change in BAD.items():
            if name == "ceiling" and how in ("three axes", "a number"):  # of any shape
                continue
            found = call(name, arguments | {key: each(change)(arguments[key])})
            assert isinstance(found, Exception), (key, how, found)


@pytest.mark.parametrize("name", metrics.__all__)
def test_what_is_missing_is_never_a_silent_number(name):
    arguments = valid(name)
    whole = call(name, arguments)
    for key in arrays_of(name):
        for how, change in UNLESS_NAN.items():
            if (how, name) in SKIPS:
                continue
            found = call(name, arguments | {key: each(change)(arguments[key])})
            if isinstance(found, Exception) or np.isnan(found).any() or not len(found):
                continue
            alone = len(arrays_of(name)) == 1 or name in CELLS
            assert alone, (key, how, found, whole)
            assert how == "one row", (key, how, found, whole)


@pytest.mark.parametrize("name", [name for name in metrics.__all__ if len(arrays_of(name)) > 1])
def test_shapes_that_do_not_fit_are_refused(name):
    arguments = valid(name)
    for key in arrays_of(name):
        free = name == "partial_association" and key == "scores"  # any number of scores
        for change in (lambda v: v[..., :-1], lambda v: np.concatenate([v, v], axis=-1)) * (
            not free
        ):
            found = call(name, arguments | {key: each(change)(arguments[key])})
            assert isinstance(found, ValueError), (key, found)
        if name in CELLS:
            continue
        for change in (lambda v: v[:-1], lambda v: v[1:], lambda v: np.concatenate([v, v])):
            found = call(name, arguments | {key: each(change)(arguments[key])})
            assert isinstance(found, ValueError), (key, found)


@pytest.mark.parametrize("name", with_any({"mask", "group", "owner"}))
def test_masks_and_groups(name):
    arguments = valid(name)
    parameters = parameters_of(name)
    table = next((v for v in arguments.values() if getattr(v, "ndim", 0) == 2), np.zeros((12, 1)))
    if "mask" in parameters and name != "pearson_delta":
        good = np.ones(table.shape, dtype=bool)
        expected = call(name, arguments)
        for mask in (good, good.tolist(), pd.DataFrame(good)):
            np.testing.assert_allclose(call(name, arguments | {"mask": mask}), expected)
        for mask in (good[:-1], good[:, :-1], good.astype(int), good.astype(str), "all", 1.0):
            found = call(name, arguments | {"mask": mask})
            assert isinstance(found, (ValueError, TypeError)), mask
    for key in ("group", "owner"):
        if key not in parameters:
            continue
        groups = ["a", "b"] * (len(table) // 2)
        expected = call(name, arguments | {key: np.array(groups)})
        for same in (groups, pd.Series(groups), pd.Categorical(groups), [0, 1] * (len(table) // 2)):
            np.testing.assert_allclose(call(name, arguments | {key: same}), expected)
        for bad in (groups[:-1], "a", [*groups[:-1], None], [*groups[:-1], np.nan], [groups], 3):
            found = call(name, arguments | {key: bad})
            assert isinstance(found, (ValueError, TypeError)), bad


def test_tables_in_another_order_are_refused():
    a = pd.DataFrame(np.arange(6.0).reshape(2, 3), index=["P1", "P2"], columns=list("abc"))
    with pytest.raises(ValueError, match=r"predicted and real are tables whose columns"):
        metrics.mae(a, a[["c", "b", "a"]])
    with pytest.raises(ValueError, match=r"whose rows .*reindex_like"):
        metrics.mae(a, a.iloc[::-1])
    assert metrics.mae(a, a).tolist() == [0, 0]
    cells = pd.DataFrame(np.eye(3), index=["c1", "c2", "c3"], columns=list("abc"))
    assert metrics.energy_distance(a, cells) > 0  # other cells


NUMBERS = {  # arguments that are numbers, and what none of them may be
    key: bad
    for keys, bad in (
        (
            (
                "block_bytes",
                "n_boot",
                "n_bins",
                "n_perms",
                "most",
                "max_iter",
                "n_directions",
                "k",
            ),
            (0, -1, 1.5, np.nan, np.inf, "3", True),
        ),
        (("alpha", "q", "level"), (-0.1, 1.1, np.nan, np.inf, "3", True)),
        (
            ("epsilon", "exponent", "floor", "bandwidth", "p", "threshold", "budget"),
            (-1.0, np.nan, np.inf, "3", True),
        ),
        (("tolerance",), (-1.0, np.nan, np.inf, "3")),
        (("least",), (-1, 1.5, np.nan, np.inf, "3", True)),
        (("rng",), (-1, "seed", 1.5, True)),
        (("metric", "ties", "scale"), ("no", 1, None)),
    )
    for key in keys
}


@pytest.mark.parametrize("name", with_any(set(NUMBERS)))
def test_numbers_out_of_range_are_refused(name):
    arguments = valid(name)
    for key in parameters_of(name):
        for bad in NUMBERS.get(key, ()):
            found = call(name, arguments | {key: bad})
            assert isinstance(found, (TypeError, ValueError)), (key, bad, found)


@pytest.mark.parametrize("name", with_any(set(NUMBERS) - {"rng"}))
def test_a_whole_number_may_have_any_type(name):
    """3.0 is a whole number, and small types must not overflow."""
    arguments = valid(name)
    for key, parameter in parameters_of(name).items():
        if "int" in str(parameter.annotation).split(" | ") and key != "rng":
            expected = call(name, arguments | {key: 190})
            for same in (190.0, np.float32(190), np.uint8(190), np.int64(190)):
                np.testing.assert_array_equal(call(name, arguments | {key: same}), expected, key)


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        (name, key)
        for name in metrics.__all__
        for key, parameter in parameters_of(name).items()
        if parameter.annotation == "bool"
    ],
)
def test_what_is_no_flag_is_refused(name, flag):
    """A text such as "no" is true, and would do the opposite of what is meant."""
    for bad in ("no", "False", 0, 1, None):
        found = call(name, valid(name) | {flag: bad})
        assert isinstance(found, TypeError), (bad, found)
        assert f"{flag} must be True or False" in str(found)


def test_what_are_no_booleans_is_refused():
    """The text "False" is true, and so is what a masked array hides."""
    arguments = valid("average_precision")
    good = np.arange(6) < 4
    expected = call("average_precision", arguments | {"negative": good})
    for same in (good.tolist(), good.astype(object), pd.Series(good, dtype="boolean")):
        found = call("average_precision", arguments | {"negative": same})
        np.testing.assert_array_equal(found, expected)
    masked = np.ma.masked_array(good, mask=~good)
    for bad in (good.astype(str), good.astype(int), [*good[:-1], None], masked):
        found = call("average_precision", arguments | {"negative": bad})
        assert str(found).startswith("negative must "), bad
