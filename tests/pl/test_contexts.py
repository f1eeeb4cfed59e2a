from __future__ import annotations

import numpy as np
import pytest

import shoal as sh


@pytest.fixture
def by_day(measured, table, rng):
    """Twelve perturbations on three days; a day of A+B was not measured."""
    parts = table.loc[np.repeat(table.index, 3)].reset_index()
    parts.insert(1, "context", np.tile(["day 1", "day 2", "day <3>"], len(table)))
    parts["coherence"] += rng.uniform(-0.1, 0.1, len(parts))
    parts = parts[(parts["perturbation"] != "A+B") | (parts["context"] != "day 2")]
    parts.index = parts.index.astype(str)
    measured.uns["coherence"]["by_context"] = parts
    return measured


def points(ax):
    return np.vstack([np.asarray(c.get_offsets()) for c in ax.collections if len(c.get_offsets())])


def test_every_measured_pair_is_a_point_and_the_pooled_ones_come_first(by_day):
    ax = sh.pl.contexts(by_day, n_top=4)
    columns = [t.get_text() for t in ax.get_xticklabels()]
    assert columns == ["all", "day 1", "day 2", "day <3>"]
    rows = [t.get_text() for t in ax.get_yticklabels()]
    assert rows == ["HLA/x", "A+B", "g009", "g008"]
    at = {tuple(p) for p in points(ax).tolist()}
    assert len(at) == 15
    assert (2.0, 1.0) not in at  # A+B on day 2


def test_colour_is_the_value_and_shape_the_cause(by_day, table):
    by_day.uns["coherence"]["table"].loc["HLA/x", "cause"] = "differs between contexts"
    ax = sh.pl.contexts(by_day, perturbations=["HLA/x"])
    legend = [t.get_text() for t in ax.get_legend().get_texts()]
    assert legend == ["response (3)", "response, differs between contexts (1)"]
    shapes = ax.get_legend().legend_handles
    assert len({tuple(handle.get_facecolor()[0]) for handle in shapes}) == 1
    drawn = [c for c in ax.collections if c.get_label().startswith("response, differs")]
    assert drawn[0].get_array()[0] == pytest.approx(table.loc["HLA/x", "coherence"])


def test_no_response_is_grey_and_small(by_day):
    ax = sh.pl.contexts(by_day, perturbations=["g000"], color="residual_z")
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["no response found (4)"]


def test_without_contexts_it_says_what_to_call(measured):
    with pytest.raises(KeyError, match="context_key"):
        sh.pl.contexts(measured)


def test_unknown_names_are_refused(by_day):
    with pytest.raises(KeyError, match="zzz"):
        sh.pl.contexts(by_day, perturbations=["zzz"])
    with pytest.raises(KeyError, match="nothing"):
        sh.pl.contexts(by_day, color="nothing")
