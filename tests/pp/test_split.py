"""pp.split: whole conditions are held out, by share, name or fold; training keeps what each question needs."""

from __future__ import annotations

import itertools

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from mudata import MuData

import shoal as sh

PARTS = "ABCDEF"
PAIRS = ["A+B", "A+C", "B+C", "C+D", "D+E"]


@pytest.fixture
def pairs(rng):
    """Six singles and five pairs of 8 cells each, 20 controls."""
    names = [*PARTS, *PAIRS]
    label = np.array(["ctrl"] * 20 + list(np.repeat(names, 8)))
    adata = ad.AnnData(
        rng.normal(size=(len(label), 6)),
        obs=pd.DataFrame({"p": label}, index=map(str, range(len(label)))),
    )
    sh.pp.annotate(adata, "p", control="ctrl")
    return adata


@pytest.fixture
def table(rng):
    """Six perturbations x three days (integers), each with two doses and three guides; controls without either."""
    cells = [
        (p, day, dose, f"{p}g{g}")
        for p in PARTS
        for day in (0, 2, 4)
        for dose in (0.5, 10.0)
        for g in range(3)
    ]
    cells += [("ctrl", day, np.nan, None) for day in (0, 2, 4) for _ in range(5)]
    obs = pd.DataFrame(cells * 2, columns=["p", "day", "dose", "guide"])
    obs.index = obs.index.astype(str)
    adata = ad.AnnData(rng.normal(size=(len(obs), 6)), obs=obs)
    sh.pp.annotate(
        adata, "p", control="ctrl", context_key="day", dose_key="dose", guide_key="guide"
    )
    return adata


def held(adata, side="test", key="split"):
    units = adata.uns[key]["units"]
    return sorted(units.index[units["split"] == side])


def on(adata, side, *columns):
    """The distinct values of perturbed cells on a side."""
    cells = adata.obs[(adata.obs["split"] == side) & (adata.obs["p"] != "ctrl")]
    return set(cells[list(columns)].itertuples(index=False, name=None))


def test_perturbations_by_share(table):
    sh.pp.split(table, test=0.3, val=0.2)
    assert [len(on(table, side, "p")) for side in ("train", "val", "test")] == [3, 1, 2]
    assert not on(table, "train", "p") & (on(table, "val", "p") | on(table, "test", "p"))
    assert list(table.obs["split"].cat.categories) == ["train", "val", "test"]
    assert (table.obs.loc[table.obs["p"] == "ctrl", "split"] == "train").all()
    assert table.uns["split"]["units"]["n_cells"].eq(36).all()


def test_a_held_out_perturbation_takes_its_combinations_along(pairs):
    sh.pp.split(pairs, test=["C"], val=["A"])
    assert held(pairs) == ["A+C", "B+C", "C", "C+D"]
    assert held(pairs, "val") == ["A", "A+B"]
    assert on(pairs, "train", "p") == {("B",), ("D",), ("E",), ("F",), ("D+E",)}


@pytest.mark.parametrize("n_seen", [None, 0, 1, 2])
def test_combinations_see_exactly_so_many_parts(pairs, n_seen):
    for seed in range(5):
        sh.pp.split(pairs, by="combination", test=0.4, parts_seen=n_seen, rng=seed)
        train = {name for (name,) in on(pairs, "train", "p")}
        anywhere = {part for name in train for part in name.split("+")}
        assert held(pairs)
        for name in held(pairs):
            seen = [part for part in name.split("+") if part in train]
            assert len(seen) == (2 if n_seen is None else n_seen)
            assert [part for part in name.split("+") if part in anywhere] == seen
        assert pairs.uns["split"]["table"].loc["parts_seen", "status"] == (
            "ok" if n_seen == 0 else "by design"
        )
        assert bool(held(pairs, "aside")) == (n_seen in (0, 1))
    assert pairs.uns["split"]["params"]["n_aside"] == pairs.obs["split"].isna().sum()


def test_combinations_by_name_in_any_order(pairs):
    pairs.obs["p"] = pairs.obs["p"].replace({"C+D": "D+C"})
    pairs.obs.iloc[-9, 0] = "C+D"  # the last cell of that pair
    sh.pp.split(pairs, by="combination", test="D+C")
    assert held(pairs) == ["C+D"]
    assert on(pairs, "test", "p") == {("C+D",), ("D+C",)}
    assert (
        "1 perturbations have several spellings"
        in pairs.uns["split"]["table"].loc["two_spellings", "detail"]
    )


def test_combinations_that_contradict_each_other(pairs):
    with pytest.raises(
        ValueError, match=r"'B\+C' cannot be held out: 1 of its 2 parts .*already decide about B, C"
    ):
        sh.pp.split(pairs, by="combination", test=["A+B", "A+C", "B+C"], parts_seen=1)
    with pytest.raises(ValueError, match="can hold out none of 5 units"):
        sh.pp.split(pairs[~pairs.obs["p"].isin(list(PARTS))].copy(), by="combination")


def test_contexts_keep_their_controls(table):
    sh.pp.split(table, by="context", test=[4], val=["0"])
    assert (on(table, "test", "day"), on(table, "val", "day"), on(table, "train", "day")) == (
        {(4,)},
        {(0,)},
        {(2,)},
    )
    assert (table.obs.loc[table.obs["p"] == "ctrl", "split"] == "train").all()


def test_a_perturbation_of_one_context_only_is_set_aside(table):
    rare = table[(table.obs["p"] != "A") | (table.obs["day"] == 4)].copy()
    sh.pp.split(rare, by="context", test=[4])
    assert held(rare, "aside") == ["A | 4"]
    assert on(rare, "test", "p") == {(p,) for p in "BCDEF"}


def test_doses_by_number_pair_and_share(table):
    sh.pp.split(table, by="dose", test=[10])
    assert on(table, "test", "dose") == {(10.0,)}
    sh.pp.split(table, by="dose", test=["A | 10", ("B", 0.5)])
    assert held(table) == ["A | 10", "B | 0.5"]
    table.obs.loc[table.obs["p"] == "C", "dose"] = 10.0
    sh.pp.split(table, by="dose", test=[10.0])
    assert held(table, "aside") == ["C | 10"]  # no other dose of C would stay
    sh.pp.split(table, by="dose", test=0.99)
    assert on(table, "train", "p") == {(p,) for p in PARTS}


@pytest.mark.parametrize("share", [0.05, 0.4, 0.9])
def test_every_perturbation_gives_guides_and_keeps_one(table, share):
    sh.pp.split(table, by="guide", test=share, val=0.3 if share < 0.5 else 0)
    assert {name for name, _ in on(table, "test", "p", "guide")} == set(PARTS)
    assert {name for name, _ in on(table, "train", "p", "guide")} == set(PARTS)
    assert not on(table, "train", "guide") & (
        on(table, "test", "guide") | on(table, "val", "guide")
    )


def test_cells_of_the_table_keep_rows_and_columns(table):
    sh.pp.split(table, by="perturbation_context", test=0.5, val=0.1)
    assert len(on(table, "test", "p", "day")) == 9
    assert on(table, "train", "p") == {(p,) for p in PARTS}
    assert on(table, "train", "day") == {(0,), (2,), (4,)}
    with pytest.raises(
        ValueError, match=r"'C \| 4' cannot be held out: no perturbed cell of the perturbation 'C'"
    ):
        sh.pp.split(table, by="perturbation_context", test=[("C", day) for day in (0, 2, 4)])


@pytest.mark.parametrize("by", ["perturbation", "context", "dose", "guide", "perturbation_context"])
def test_folds_hold_out_every_unit_once(table, by):
    tested = []
    for fold in range(3):
        sh.pp.split(table, by=by, n_folds=3, fold=fold)
        tested.append(set(table.uns["split"]["units"].index))
    assert not any(a & b for a, b in itertools.combinations(tested, 2))
    columns = {
        "perturbation": ["p"],
        "context": ["p", "day"],
        "perturbation_context": ["p", "day"],
    }.get(by, ["p", by])
    n = len(table.obs.loc[table.obs["p"] != "ctrl", columns].drop_duplicates())
    assert len(set.union(*tested)) == n


def test_the_seed_decides_and_the_order_of_cells_does_not(table):
    sh.pp.split(table, by="perturbation_context", rng=3)
    shuffled = table[np.random.default_rng(1).permutation(table.n_obs)].copy()
    sh.pp.split(shuffled, by="perturbation_context", rng=3)
    pd.testing.assert_series_equal(shuffled.obs["split"].loc[table.obs_names], table.obs["split"])
    others = set()
    for seed in range(5):
        sh.pp.split(table, by="perturbation_context", rng=seed)
        others.add(tuple(held(table)))
    assert len(others) == 5


def test_written_slots_survive_a_file(table, tmp_path):
    table.obs["p"] = table.obs["p"].replace({"A": "A/1", "B": "5"})
    sh.pp.split(
        table,
        by="perturbation_context",
        test=["A/1 | 4", (5, 2)],
        accept="pca_fit",
        key_added="mine",
    )
    table.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    assert held(back, key="mine") == ["5 | 2", "A/1 | 4"]
    assert back.uns["mine"]["params"]["test"] == "A/1 | 4,5 | 2"
    assert back.uns["mine"]["params"]["seed"] == 0
    assert back.uns["mine"]["schema"] == "split/1"
    pd.testing.assert_series_equal(back.obs["mine"], table.obs["mine"])
    pd.testing.assert_frame_equal(
        back.uns["mine"]["table"], table.uns["mine"]["table"], check_dtype=False
    )


def test_views_modalities_and_small_groups(table, caplog):
    view = table[:-1]
    sh.pp.split(MuData({"rna": view.copy()}), mod="rna")
    sh.pp.split(view)
    assert not view.is_view
    assert "split" not in table.obs
    one = table[(table.obs["p"] != "A") | (np.arange(table.n_obs) == 0)].copy()
    sh.pp.split(one, test=["A"])
    assert one.uns["split"]["units"]["n_cells"].to_dict() == {"A": 1}
    assert "1 held-out conditions have fewer than 10 cells" in caplog.text


def test_missing_labels(table):
    table.obs.loc[table.obs_names[0], "dose"] = np.nan
    with pytest.raises(ValueError, match=r"1 perturbed cells have no label in adata.obs\['dose'\]"):
        sh.pp.split(table, by="dose")
    table.obs.loc[table.obs_names[1], "p"] = None
    with pytest.raises(ValueError, match="1 of 246 cells have no label"):
        sh.pp.split(table)
    sh.pp.annotate(table, "p", control="ctrl", dose_key="dose", missing="ignore")
    sh.pp.split(table, by="dose")
    assert table.obs["split"].isna().tolist()[:3] == [True, True, False]


@pytest.mark.parametrize(
    ("error", "match", "arguments"),
    [
        (ValueError, "by='cell' is not known", {"by": "cell"}),
        (ValueError, "accept='pca' is not known", {"accept": "pca"}),
        (ValueError, "test is empty", {"test": []}),
        (ValueError, r"test=0.0 is no share", {"test": 0.0}),
        (
            ValueError,
            r"test=10 is no share .* give a list, test=\[10\]",
            {"by": "dose", "test": 10},
        ),
        (ValueError, "test=True is neither", {"test": True}),
        (ValueError, "val=1.0 is no share", {"val": 1.0}),
        (ValueError, "test=0.6 and val=0.5 are shares of all units", {"test": 0.6, "val": 0.5}),
        (ValueError, "test=0.2 and val=0.9 are shares of all units", {"val": 0.9}),
        (ValueError, "test=0.5 and val=0.5 .* sum", {"n_folds": 2, "fold": 0, "val": 0.5}),
        (ValueError, "test=0.01 of 6 units is less than half of one; .* 0.084,", {"test": 0.01}),
        (ValueError, "val=0.05 of 6 units is less than half", {"test": 0.2, "val": 0.05}),
        (ValueError, "test=nan is no share", {"test": float("nan")}),
        (ValueError, "val=None is neither", {"val": None}),
        (KeyError, "'G' is not in the units of by='perturbation'.*given in test", {"test": ["G"]}),
        (KeyError, "'7' is not in the units of by='context'", {"by": "context", "test": [7]}),
        (KeyError, "'0.7' is not in the units", {"by": "dose", "test": [0.7]}),
        (KeyError, "'A' is not in the units", {"by": "perturbation_context", "test": ["A"]}),
        (ValueError, "'high' is not a dose", {"by": "dose", "test": ["A | high"]}),
        (ValueError, "test: 'ctrl' is a control", {"test": ["ctrl"]}),
        (
            ValueError,
            "val: 'A' is named twice, or is in test already",
            {"test": ["A"], "val": ["A"]},
        ),
        (
            ValueError,
            "'F' cannot be held out: no perturbed cell of any perturbation",
            {"test": list(PARTS)},
        ),
        (ValueError, "val=0.2 holds out nothing", {"test": list("ABCDE"), "val": 0.2}),
        (ValueError, "the screen has none. Something else", {"by": "combination"}),
        (ValueError, "it needs by='combination'", {"parts_seen": 1}),
        (
            ValueError,
            "parts_seen must be a whole number of at least 0",
            {"by": "combination", "parts_seen": -1},
        ),
        (ValueError, "go together", {"n_folds": 3}),
        (ValueError, "leave out test=0.2", {"n_folds": 3, "fold": 0, "test": 0.2}),
        (ValueError, "fold must be one of 0 to 2", {"n_folds": 3, "fold": 3}),
        (
            ValueError,
            "6 units of by='perturbation' do not fill n_folds=7",
            {"n_folds": 7, "fold": 0},
        ),
        (TypeError, "integer seed", {"n_folds": 3, "fold": 0, "rng": None}),
    ],
)
def test_bad_input_leaves_nothing_behind(table, error, match, arguments):
    with pytest.raises(error, match=match):
        sh.pp.split(table, **arguments)
    assert "split" not in table.obs
    assert "split" not in table.uns


def test_a_single_condition_and_a_missing_column(screen_adata):
    one = screen_adata[screen_adata.obs["perturbation"].isin(["A", "control"])].copy()
    with pytest.raises(
        ValueError, match="can hold out none of 1 units: 'A', for one: no perturbed cell of any"
    ):
        sh.pp.split(one, "perturbation", control="control")
    one.obs["dose"] = 1.0
    sh.pp.annotate(one, "perturbation", control="control", dose_key="dose")
    with pytest.raises(
        ValueError, match=r"\(by= one of combination, dose, and more if .* context_key, guide_key\)"
    ):
        sh.pp.split(one)
    with pytest.raises(ValueError, match=r"Labels are read with sep='auto'.* name it with sep="):
        sh.pp.split(one, by="combination")
    with pytest.raises(ValueError, match=r"the screen has no column of contexts.*context_key="):
        sh.pp.split(screen_adata, "perturbation", control="control", by="context")


def test_names_of_the_other_kind(pairs):
    with pytest.raises(ValueError, match=r"'A\+B' is a combination; use by='combination'"):
        sh.pp.split(pairs, test=["B+A"])
    with pytest.raises(ValueError, match="'A' is a single perturbation; use by='perturbation'"):
        sh.pp.split(pairs, by="combination", test=["A"])


@pytest.mark.parametrize("dose", [np.inf, -1.0, 0.0, "much"])
def test_doses_that_are_none_are_no_units(table, dose):
    column = table.obs["dose"].astype(object)
    perturbed = np.flatnonzero(table.obs["p"] != "ctrl")
    column.iloc[perturbed[:3]] = dose
    table.obs["dose"] = column
    before = set(table.obs), set(table.uns)
    with pytest.raises(ValueError, match="dose"):
        sh.pp.split(table, by="dose", test=0.4)
    assert (set(table.obs), set(table.uns)) == before
