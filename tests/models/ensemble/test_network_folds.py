"""Networks are trained on some of the inner folds: their share, and the errors, are those of the conditions they were asked."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tests.models.ensemble.screens import D, made
from tests.models.ensemble.test_weights import asked_of, evidence

import shoal as sh
from shoal.models.base import _registry
from shoal.models.base._kinds import COMBINATION, NEW_CONTEXT, UNMEASURED
from shoal.models.ensemble._members import Member
from shoal.models.ensemble._network_folds import network_folds
from shoal.models.ensemble._weights import TOGETHER, errors_of, table_of

# -- on which folds --------------------------------------------------------------------------------


def folds(several, *, kind=UNMEASURED, fitted=True, least=2):
    """Return on which folds networks are trained; `several` are the units of each fold."""
    fold = np.repeat(np.arange(len(several)), [len(own) for own in several])
    units = [name for own in several for name in own]
    return network_folds(fold, [kind] * len(fold), units, fitted=fitted, least=least).tolist()


@pytest.mark.parametrize(
    ("several", "chosen"),
    [
        (["abcd", "efgh", "ijkl"], [True, True, False]),
        (["abcd", "efg", "hijk"], [True, True, True]),  # 8 units in all, 7 in two folds
        (["abcd", "aefg", "hijk"], [True, True, True]),  # a is one unit
        (["ab", "cd", "ef"], [True, True, False]),  # never 8 units
    ],
)
def test_as_many_as_it_takes_for_eight_units(several, chosen):
    assert folds(several) == chosen
    assert folds(several, least=3) == [True] * 3


def test_each_kind_of_question_is_asked():
    fold, units = np.array([0, 1, 2]), ["a", "b", "c+d"]
    given = {"fitted": True, "least": 2}
    kinds = [UNMEASURED, UNMEASURED, COMBINATION]
    assert network_folds(fold, kinds, units, **given).tolist() == [True, True, True]
    assert network_folds(fold, [NEW_CONTEXT, *kinds[1:]], units, **given).tolist() == [
        False,
        True,
        True,
    ]


def test_none_where_networks_can_have_no_part():
    contexts = ["abcd", "efgh", "ijkl"]
    assert folds(contexts, kind=NEW_CONTEXT) == [True, True, False]
    assert folds(contexts, kind=NEW_CONTEXT, fitted=False) == [False] * 3
    assert folds(["ab", "cd"], kind=NEW_CONTEXT) == [False, False]


# -- the share of the networks ---------------------------------------------------------------------


def on_folds(whole, folds):
    """Return evidence of networks that were trained on some of the folds alone."""
    rows = np.isin(whole.fold, folds)
    arrays = {name: getattr(whole, name).copy() for name in ("predicted", "genes")}
    for one in arrays.values():
        one[~rows, whole.members.index("flow")] = np.nan
    return replace(whole, asked=rows, **arrays)


@pytest.mark.parametrize("network", [1.0, 0.7, 0.1, -1.0])
def test_the_share_is_the_best_on_the_conditions_that_were_asked(rng, network):
    whole = evidence(rng, network=network, n=40, folds=4)
    own, plain = asked_of(on_folds(whole, [0, 1])), asked_of(whole.without("flow"))
    row, flow, error = whole.predicted[:, 0], whole.predicted[:, 1], {}

    def best(rows):
        """Return the share that is the nearest in folds 0 and 1, with weights of other folds."""
        for share in (0, 0.5, 1):
            error[share] = 0.0
            for fold in np.unique(own.fold[rows & (own.fold < 2)]):
                (weight,) = plain.baselines(rows & (own.fold != fold))
                made = (1 - share) * weight * row + share * flow
                left = ((own.real - made) ** 2).sum(axis=1)[own.fold == fold]
                error[share] += float(own.count[own.fold == fold] @ left)
        return min(error, key=error.get)

    weights, each, note = own.answer()
    assert not note
    (weight,) = plain.baselines(own.fold >= 0)  # of all conditions
    share = best(own.fold >= 0)
    np.testing.assert_allclose(weights, [(1 - share) * weight, share])
    assert (share > 0) == (network > 0.1)
    (weight,), other = plain.baselines(own.fold != 0), best(own.fold != 0)
    np.testing.assert_allclose(each[own.fold == 0][0], [(1 - other) * weight, other])


def with_members(whole, given):
    """Return evidence of other predictions (C, K, p), the last of a network."""
    names = ("additive", *(f"B{i}" for i in range(given.shape[1] - 2)), "flow")
    return replace(whole, members=names, predicted=given, genes=given.astype(np.float32))


def test_weights_that_were_fitted_on_the_same_conditions_do_not_look_better(rng):
    """Baselines fit few conditions well, and others less so: a network in between has a part."""
    whole = evidence(rng, network=1.0, n=8, folds=4)
    given = np.concatenate([rng.normal(size=(8, 12, 20)), np.zeros((8, 1, 20))], axis=1)
    plain = asked_of(with_members(whole, given).without("flow"))

    def far(fold, rows):
        left = plain.real - plain.made(plain.baselines(rows))
        return float((left**2).sum(axis=1)[plain.fold == fold].sum())

    seen = sum(far(fold, plain.fold >= 0) for fold in range(4))
    unseen = sum(far(fold, plain.fold != fold) for fold in range(4))
    assert seen < unseen
    part = 1 - np.sqrt((seen + unseen) / 2 / (whole.real**2).sum())
    given[:, -1] = part * whole.real
    own = asked_of(with_members(whole, given))
    assert own.share(own.fold >= 0) > 0


@pytest.mark.parametrize("elsewhere", [1.0, 0.0])
def test_before_a_copy_baselines_are_tried_on_all_conditions(rng, elsewhere):
    """With a network that hardly helps nothing is gained on half of them; without, on the others."""
    whole = evidence(rng, network=1.0, n=40, folds=4)
    row = elsewhere * whole.real * (whole.fold > 1)[:, None]
    hardly = np.where(np.arange(40) < 24, 0.1, -0.1)[:, None] * whole.real  # no more than an error
    own = on_folds(with_members(whole, np.stack([row, hardly], axis=1)), [0, 1])
    weights, _, note = asked_of(own).answer()
    assert note.startswith("copy") == (elsewhere == 0)
    assert weights[1] == 0
    assert (weights[0] > 0) == (elsewhere > 0)


def test_asked_on_all_folds_the_weights_are_those_of_all_conditions(rng):
    whole = evidence(rng, network=0.7, n=40, folds=4)
    one, two = (asked_of(own).answer() for own in (whole, on_folds(whole, range(4))))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])


@pytest.mark.parametrize(("network", "part"), [(1.0, True), (-1.0, False)])
def test_errors_are_those_of_answers_that_are_known(rng, network, part):
    """With a part of the network, what it would have said elsewhere is not known; without, all is."""
    own = on_folds(evidence(rng, network=network, n=40, folds=4), [0, 1])
    (errors,) = errors_of(own, {}, networks=["flow"]).values()
    assert len(errors.unit) == (20 if part else 40)
    table = table_of(own, own.members, [own.kind[0]], networks=["flow"]).set_index("member")
    assert (table["n_conditions"] == 20).all()  # so that all errors are of the same
    alone = ((1 - network) ** 2) if part else 4
    assert table.loc["flow", "error"] == pytest.approx(alone)
    # half of the cells of a network, as they are: its errors are not known elsewhere either
    (errors,) = errors_of(own, {own.kind[0]: "flow"}, networks=["flow"]).values()
    assert len(errors.unit) == 20


def test_few_units_are_told_by_those_that_were_asked(rng):
    """Half by rule, and none where the network was worse on the conditions that it was asked."""
    for network, share in {1.0: 0.5, -1.0: 0.0}.items():
        own = asked_of(on_folds(evidence(rng, network=network, n=6, folds=3), [0, 1]))
        weights, _, note = own.answer()
        np.testing.assert_array_equal(weights, [1 - share, share])
        assert note.startswith("rule: 6 units")


# -- a screen --------------------------------------------------------------------------------------


@pytest.fixture
def unknown(rng):
    """A screen whose responses nothing tells beforehand."""
    truth = {f"P{i:02d}": rng.normal(size=D) for i in range(24)}
    adata = made(truth, rng, noise=0.3)
    sh.pp.split(adata, by="perturbation", test=1 / 6, val=0, rng=0)
    return adata, truth


@pytest.fixture
def oracle(monkeypatch, unknown):
    """A network that knows a multiple of the truth: `times`, and the folds it is trained on, `trained`."""
    for name in ("_ENTRIES", "_CLASSES"):
        monkeypatch.setattr(_registry, name, dict(getattr(_registry, name)))
    monkeypatch.setattr(Member, "is_network", property(lambda self: self.name == "oracle"))

    class Oracle(sh.models.MeanShift):
        """Control cells plus what is true, times a number."""

        times = 1.0
        trained: tuple[int, ...] = ()

        def _fit(self, cells):
            type(self).trained = (*self.trained, int(cells.train.sum()))
            return super()._fit(cells)

        def _shifts(self, names, context, dose):
            return self.times * np.array([unknown[1][name] for name in names])

    sh.models.register("oracle", Oracle)
    return Oracle


def fitted(adata, *, members=("oracle",), **given):
    config = {"members": list(members), **given.pop("config", {})}
    return sh.tl.fit(adata, "auto", config=config, rng=0, **given)


def of_kind(model, kind=UNMEASURED):
    return model.weights[model.weights["kind"] == kind].set_index("member")


def test_a_network_that_is_much_better_gets_its_share_of_two_folds(unknown, oracle):
    model = fitted(unknown[0])
    assert len(oracle.trained) == 3  # two folds, and all of training
    assert model.params["network_folds"] == 2
    own = of_kind(model)
    assert own.loc["oracle", "weight"] == 1
    assert (own["n_units"] == 10).all()
    assert own.loc[TOGETHER, "error"] < 0.1
    every = of_kind(fitted(unknown[0], config={"network_folds": None}))
    assert len(oracle.trained) == 3 + 5
    assert every.loc["oracle", "weight"] == 1


def test_a_network_that_does_harm_gets_none(unknown, oracle):
    oracle.times = -1.0
    model, plain = fitted(unknown[0]), fitted(unknown[0], members=[])
    assert len(oracle.trained) == 2  # in the end it is not needed
    one, two = (of_kind(m)["weight"].drop("oracle", errors="ignore") for m in (model, plain))
    pd.testing.assert_series_equal(one, two)
    one, two = (m.calibration.kinds[UNMEASURED].grid for m in (model, plain))
    np.testing.assert_array_equal(one, two)


def test_it_resumes_to_the_bit_and_with_more_folds(unknown, oracle, monkeypatch, tmp_path):
    """What a fold says does not depend on how many there are, so that more can be added later."""
    fit, whole = Member.fit, fitted(unknown[0])
    n_before = len(oracle.trained)

    def stop(self, cells, **options):
        if self.name == "oracle" and len(oracle.trained) == n_before + 1:
            raise KeyboardInterrupt
        return fit(self, cells, **options)

    monkeypatch.setattr(Member, "fit", stop)
    with pytest.raises(KeyboardInterrupt):
        fitted(unknown[0], checkpoint_dir=tmp_path)
    monkeypatch.setattr(Member, "fit", fit)
    again = fitted(unknown[0], checkpoint_dir=tmp_path, resume=True)
    assert len(oracle.trained) == n_before + 3
    pd.testing.assert_frame_equal(again.weights, whole.weights, check_exact=True)
    more, fresh = (
        fitted(unknown[0], config={"network_folds": 4}, **given)
        for given in ({"checkpoint_dir": tmp_path, "resume": True}, {})
    )
    assert len(oracle.trained) == n_before + 3 + 3 + 5
    pd.testing.assert_frame_equal(more.weights, fresh.weights, check_exact=True)


def test_in_new_contexts_networks_are_not_trained_and_that_is_said(rng, unknown, oracle, caplog):
    import anndata as ad

    parts = [made(unknown[1], rng, n=6, n_control=30) for _ in range(4)]
    adata = ad.concat(parts, keys=list("abcd"), label="line", index_unique="-")
    sh.pp.annotate(adata, "perturbation", control="control", context_key="line")
    sh.pp.split(adata, by="context", test=["d"], val=0)
    with caplog.at_level(logging.WARNING, "shoal"):
        model = fitted(adata)
    assert not oracle.trained
    assert "auto does not train 'oracle': every question is asked in a new context" in caplog.text
    assert of_kind(model, NEW_CONTEXT).loc["oracle", "weight"] == 0
    assert model.predict("P01", context="d", n_cells=5).n_obs == 5


@pytest.mark.parametrize("value", [0, 1, 2.5, "two", True])
def test_a_number_of_folds_that_makes_no_sense(unknown, value):
    with pytest.raises((TypeError, ValueError), match="network_folds must be a whole number of at"):
        fitted(unknown[0], members=[], config={"network_folds": value})
