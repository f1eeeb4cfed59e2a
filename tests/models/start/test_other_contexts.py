"""A flow may begin at the perturbation's own cells of other contexts, moved to the wanted one."""

from __future__ import annotations

import anndata
import numpy as np
import pytest

import shoal as sh

torch = pytest.importorskip("torch", reason="networks need the extra 'models'")
pytest.importorskip("scvi", reason="networks need the extra 'models'")

from shoal.models.base._config import StartConfig, changed  # noqa: E402
from shoal.models.flow._config import FlowConfig  # noqa: E402
from shoal.models.flow._reflow import make_pairs  # noqa: E402
from shoal.models.start._measured_elsewhere import MeasuredElsewhere  # noqa: E402
from shoal.models.start._other_contexts import OtherContexts  # noqa: E402
from shoal.models.start._start import Controls  # noqa: E402
from shoal.models.start._store import CrossContextStore  # noqa: E402
from shoal.training import Conditions, ResidentStore, SetSampler  # noqa: E402

from ...helpers import dense  # noqa: E402

CONTEXTS = np.array([[0.0, 0, 0], [5, 0, 0], [0, 7, 0]], dtype=np.float32)


@pytest.fixture
def three():
    """Return perturbations 0 (contexts 0, 1, 2), 1 (0, 1) and 2 (context 0 only), 20 cells each, and 30 controls a context.

    Perturbation 1 has 4 cells only in context 1.
    """
    places = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0)]
    size = [20, 20, 20, 20, 4, 20]
    ends = np.cumsum(size)
    cells = tuple(np.arange(end - n, end) for end, n in zip(ends, size, strict=True))
    control = np.arange(ends[-1], ends[-1] + 90)
    context = np.concatenate([np.repeat([c for _, c in places], size), np.repeat([0, 1, 2], 30)])
    return Conditions(
        names=tuple(f"P{p} | {c}" for p, c in places),
        parts=np.array([[p, -1] for p, _ in places]),
        context=np.array([c for _, c in places]),
        dose=np.full(6, np.nan),
        cells=cells,
        control=control,
        cell_context=context,
        cell_batch=np.zeros_like(context),
        vectors=np.eye(3, dtype=np.float32),
    )


@pytest.fixture
def elsewhere(three):
    return MeasuredElsewhere(three, np.arange(three.n_obs)[::-1].copy())


def test_it_finds_the_own_cells_of_other_contexts(three, elsewhere):
    found = elsewhere.cells_for(three.parts[0], 0, np.nan)
    assert sorted(found) == [*three.cells[1], *three.cells[2]]
    assert (np.diff(found) < 0).all()  # in the order that was asked for
    assert sorted(elsewhere.cells_for(three.parts[0], 1, np.nan)) == [
        *three.cells[0],
        *three.cells[2],
    ]


def test_few_cells_a_context_of_its_own_and_other_doses_give_none(three, elsewhere):
    assert not len(elsewhere.cells_for(three.parts[3], 0, np.nan))  # 4 cells elsewhere
    assert not len(
        elsewhere.cells_for(three.parts[0], 2, np.nan)
    )  # alone there: nothing tells the way into the context
    assert not len(
        elsewhere.cells_for(three.parts[0], -1, np.nan)
    )  # a context that training does not know
    assert not len(elsewhere.cells_for(three.parts[5], 0, np.nan))  # measured nowhere else
    assert not len(elsewhere.cells_for(three.parts[0], 0, 1.0))  # at no such dose
    assert len(elsewhere.cells_for(three.parts[5], 1, np.nan)) == 20


@pytest.fixture
def values(three):
    noise = np.random.default_rng(0).normal(size=(three.n_obs, 3)).astype(np.float32)
    return noise + CONTEXTS[three.cell_context]


def stores(three, elsewhere, values, chance):
    plain = ResidentStore(values, SetSampler(three, set_size=16, batch_conditions=6))
    centre = np.concatenate([CONTEXTS, CONTEXTS.mean(0, keepdims=True)])
    return plain, CrossContextStore(plain, elsewhere, centre, chance)


def test_sets_that_begin_elsewhere_are_moved_and_get_no_perturbation(three, elsewhere, values):
    plain, store = stores(three, elsewhere, values, 1.0)
    before, after = plain.batch(3), store.batch(3)
    moved = ~after.condition["present"].any(1)
    assert {three.names[i] for i in after.index[moved]} == {"P0 | 0", "P0 | 1", "P1 | 1"}
    assert torch.equal(before.target, after.target)
    assert torch.equal(before.source[~moved], after.source[~moved])
    assert torch.equal(before.condition["present"][~moved], after.condition["present"][~moved])
    for k in torch.nonzero(moved).ravel().tolist():
        c = int(after.index[k])
        pool = elsewhere.cells_for(three.parts[c], int(three.context[c]), np.nan)
        there = values[pool] + CONTEXTS[three.context[c]] - CONTEXTS[three.cell_context[pool]]
        away = np.abs(after.source[k].numpy()[:, None] - there[None]).sum(-1)
        assert (away.min(1) < 1e-5).all()
        assert len(np.unique(away.argmin(1))) == 16  # no cell twice
    torch.testing.assert_close(
        after.condition["centre"], torch.from_numpy(CONTEXTS[three.context[after.index]])
    )


def test_a_batch_depends_on_the_step_alone_and_on_the_chance(three, elsewhere, values):
    _, store = stores(three, elsewhere, values, 0.5)
    assert torch.equal(store.batch(7).source, store.batch(7).source)
    share = np.mean(
        [float((~store.batch(step).condition["present"].any(1)).sum()) / 3 for step in range(200)]
    )
    assert abs(share - 0.5) < 0.07
    plain, never = stores(three, elsewhere, values, 0.0)
    assert torch.equal(never.batch(7).source, plain.batch(7).source)


def test_few_cells_repeat_with_weight_0(three, values):
    elsewhere = MeasuredElsewhere(three, np.arange(three.n_obs))
    elsewhere.cells_for = lambda *_: np.arange(12)
    plain, _ = stores(three, elsewhere, values, 1.0)
    draw, moved = elsewhere.replace_sources(
        three, plain.sampler.draw(0), 1.0, np.random.default_rng(0)
    )
    assert moved.all()
    assert (draw.source_weight.sum(1) == 12).all()


def test_what_does_not_go_together_is_refused():
    for change in ({"path_start": "noise", "coupling": "independent"}, {"control_mean": True}):
        with pytest.raises(
            ValueError, match="cross_context=0.5 lets paths begin at perturbed cells"
        ):
            changed(FlowConfig(), {"cross_context": 0.5, **change})
    with pytest.raises(ValueError, match="cross_context is a share"):
        StartConfig(cross_context=2.0)


# -- the model -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def places():
    """Return three perturbations in three contexts that lie apart, with ``C`` held out in context ``z``."""
    rng = np.random.default_rng(0)
    p, c = (m.ravel() for m in np.meshgrid(np.repeat(["control", "A", "B", "C"], 40), list("xyz")))
    x = (
        rng.normal(size=(len(p), 3)).astype(np.float32)
        + CONTEXTS[np.unique(c, return_inverse=True)[1]]
    )
    x[p != "control", 2] += 2
    adata = anndata.AnnData(x, obs={"p": p, "where": c})
    adata.obs_names = [f"cell{i}" for i in rng.permutation(len(p))]
    sh.pp.annotate(adata, "p", control="control", context_key="where")
    sh.pp.split(adata, by="perturbation_context", test=["C | z"])
    return adata


def fitted(fit_flow, adata, steps=1, **config):
    return fit_flow(
        adata,
        max_steps=steps,
        set_size=32,
        rng=0,
        lr=1e-9,
        response_share=1,
        config={"n_latent": None, **config},
    )


def test_a_model_has_the_start_of_its_settings(fit_flow, places):
    model, plain = fitted(fit_flow, places), fitted(fit_flow, places, cross_context=0.0)
    assert isinstance(model.start, OtherContexts)
    assert model.start.share == 0.5
    assert plain.start == Controls()


def test_an_untrained_flow_returns_the_moved_cells(fit_flow, places):
    model = fitted(fit_flow, places)
    made = model.predict("C", context="z", n_cells=80)
    x, own = places.X, places.obs["p"].to_numpy() == "C"
    where = places.obs["where"].to_numpy()
    control = {c: x[(where == c) & (places.obs["p"] == "control")].mean(0) for c in "xyz"}
    there = np.concatenate([x[own & (where == c)] + control["z"] - control[c] for c in "xy"])
    np.testing.assert_allclose(np.sort(dense(made.X), axis=0), np.sort(there, axis=0), atol=1e-4)
    controls = model.predict("C", context="z", n_cells=40, cross_context=False)
    np.testing.assert_allclose(dense(controls.X).mean(0), control["z"], atol=1e-4)


def test_rows_in_another_order_give_the_same_twins(fit_flow, places):
    model = fitted(fit_flow, places, steps=10)
    other = places[np.random.default_rng(1).permutation(places.n_obs)].copy()
    again = fitted(fit_flow, other, steps=1)
    again.module.load_state_dict(model.module.state_dict())
    for adata, m in ((places, model), (other, again)):
        sh.tl.predict(adata, m, key_added="twin", subset="test")
    test = places.obs_names[places.obs["split"] == "test"]
    np.testing.assert_allclose(
        dense(places[test].layers["twin"]), dense(other[test].layers["twin"]), atol=1e-4
    )


def test_given_cells_are_carried_themselves(fit_flow, places):
    model = fitted(fit_flow, places)
    start = places[places.obs["p"] == "control"].copy()
    np.testing.assert_allclose(dense(model.transport(start, "C").X), start.X, atol=1e-4)


def test_a_context_without_perturbed_cells_is_entered_from_its_controls(fit_flow, places):
    places.obs["split"] = np.where(
        (places.obs["where"] == "z") & (places.obs["p"] != "control"), "test", "train"
    )
    model = fitted(fit_flow, places)
    made = dense(model.predict("C", context="z", n_cells=40).X)
    control = places[(places.obs["where"] == "z") & (places.obs["p"] == "control")].X
    np.testing.assert_allclose(np.sort(made, axis=0), np.sort(control, axis=0), atol=1e-4)


def test_a_saved_flow_begins_at_the_same_cells(fit_flow, places, tmp_path):
    model = fitted(fit_flow, places, steps=5)
    model.save(tmp_path / "flow")
    loaded = type(model).load(tmp_path / "flow", adata=places)
    one, two = (dense(m.predict("C", context="z", n_cells=30, rng=1).X) for m in (model, loaded))
    np.testing.assert_array_equal(one, two)


def test_reflow_learns_both_beginnings(fit_flow, places):
    model = fitted(fit_flow, places)
    pairs = make_pairs(model, 16, n_steps=2, rng=np.random.default_rng(0))
    told = pairs.conditions
    alone = (told.parts < 0).all(1)
    assert (alone.sum(), len(told)) == (8, 16)  # each of the conditions of training once more
    assert len(pairs.start) == 16 * len(told) == told.n_obs
    assert len(pairs.centre) == len(told)
    torch.testing.assert_close(pairs.start, pairs.end, atol=1e-4, rtol=0)  # untrained: all stay
    perturbed = told.cells[int(np.flatnonzero(alone)[0])]
    assert (
        pairs.start[perturbed, 2].mean() > 0.5 + pairs.start[told.cells[0], 2].mean()
    )  # 2 higher than controls
    second = model.reflow(2, n_pairs=16, set_size=16, val_every=2, accelerator="cpu")
    assert second.predict("C", context="z", n_cells=8).n_obs == 8


def test_a_flow_that_begins_at_other_contexts_keeps_the_shape_of_the_response(fit_flow):
    """A third of the cells responds, which single cells cannot show a flow from controls in few steps."""
    adata = sh.ds.simulate(
        n_perturbations=6,
        n_cells=150,
        n_control=300,
        n_genes=40,
        contexts=3,
        effects=("penetrance",),
        rng=0,
    )
    sh.pp.annotate(adata, "perturbation", control="control", context_key="context")
    sh.pp.split(adata, by="perturbation_context", test=0.3, rng=0)
    sh.pp.prepare(adata, normalize="log1p", n_comps=10)
    model = fit_flow(adata, max_steps=60, set_size=32, rng=0)
    test = adata[adata.obs["split"] == "test"]

    def error(**options):
        found = []
        for (name, context), cells in test.obs.groupby(["perturbation", "context"], observed=True):
            made = model.predict(name, context=context, n_cells=len(cells), **options)
            found.append(sh.metrics.energy_distance(dense(made.X), dense(test[cells.index].X)))
        return np.mean(found)

    assert error() < 0.8 * error(cross_context=False)
