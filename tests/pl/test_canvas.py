"""What all plots share: a size, a heading, a file and a window."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from matplotlib import pyplot as plt

import shoal as sh
from shoal.pl._canvas import Canvas
from shoal.pl._style import PREDICTED, REAL, legend_above, name_points


def canvas(ax=None, **given):
    return Canvas(ax, **dict.fromkeys(("figsize", "title", "show", "save")) | given)


@pytest.mark.parametrize("name", sh.pl.__all__)
def test_every_plot_takes_them(name):
    parameters = inspect.signature(getattr(sh.pl, name)).parameters
    for one in ("figsize", "title", "show", "save"):
        assert parameters[one].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters[one].default is None


def test_a_new_figure_has_the_size_that_was_asked_for():
    assert canvas().axes(width=5, height=3).figure.get_size_inches().tolist() == [5, 3]
    mine = canvas(figsize=(7, 2))
    assert mine.axes(width=5, height=3).figure.get_size_inches().tolist() == [7, 2]
    axes = mine.grid(5, columns=3, width=2, height=2)
    assert axes.shape == (5,)
    assert len(axes[0].figure.axes) == 5
    assert axes[0].figure.get_size_inches().tolist() == [7, 2]


def test_a_heading_stands_above_what_the_plot_says():
    ax = canvas(title="mine").axes(width=3, height=3)
    ax.set_title("its own", loc="left")
    canvas(title="mine").done(ax)
    assert ax.figure.get_suptitle() == "mine"
    assert ax.get_title(loc="left") == "its own"


def test_in_axes_of_the_user_the_heading_is_above_title_and_legend():
    _, (ax, other) = plt.subplots(1, 2, layout="constrained")
    ax.plot([0, 1], label="line")
    legend = legend_above(ax)
    ax.set_title("its own", loc="left")
    assert canvas(ax, title="mine").done(ax) is ax
    ax.figure.canvas.draw()
    assert ax.get_title(loc="left") == "mine\nits own"
    (title,) = [t for t in ax.get_children() if getattr(t, "get_text", str)() == "mine\nits own"]
    assert title.get_window_extent().y0 >= legend.get_window_extent().y1
    assert ax.figure.get_suptitle() == other.get_title() == ""


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_it_is_written_in_the_format_of_its_ending(tmp_path, ending):
    mine = canvas(save=str(tmp_path / f"plot.{ending}"))
    mine.done(mine.axes(width=2, height=2))
    head = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[ending]
    assert (tmp_path / f"plot.{ending}").read_bytes().startswith(head)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"figsize": 3}, TypeError, r"figsize must be \(width, height\) in inches, not 3"),
        ({"figsize": "ab"}, TypeError, "figsize must be"),
        ({"figsize": (1, 2, 3)}, ValueError, "figsize must be"),
        ({"figsize": (0, 2)}, ValueError, "figsize must be above 0"),
        ({"figsize": (np.nan, 2)}, ValueError, "figsize must be above 0"),
        ({"title": 7}, TypeError, "title must be a text"),
        ({"show": "no"}, TypeError, "show must be True or False"),
        ({"save": 7}, TypeError, "save must be the path of a file"),
        ({"save": "no/such/folder/plot.png"}, FileNotFoundError, "choose another save="),
        ({"save": "plot"}, ValueError, r"must end in one of \."),
        ({"save": "plot.docx"}, ValueError, r"\.pdf.*\.png"),
    ],
)
def test_what_makes_no_sense_is_refused_before_a_figure_is_made(given, error, said):
    with pytest.raises(error, match=said):
        canvas(**given)
    assert not plt.get_fignums()


def test_a_size_for_axes_that_are_there_is_refused():
    with pytest.raises(ValueError, match="leave one of them out"):
        canvas(plt.subplots()[1], figsize=(3, 3))


@pytest.mark.parametrize("dpi", [60, 100, 200])
def test_names_cover_neither_points_nor_one_another(dpi):
    """Whatever the resolution of the file that it is saved to."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(size=(2, 60))
    ax = canvas().axes(width=6, height=5)
    ax.scatter(x, y, s=9)
    names = [f"GENE{i:02d}" for i in range(60)]
    name_points(ax, names, x, y, avoid=(x, y))
    ax.figure.set_dpi(dpi)
    ax.figure.canvas.draw()
    boxes = [t.get_bbox_patch() or t for t in ax.texts]
    boxes = np.array([plt.Text.get_window_extent(t).extents for t in boxes])
    assert len(boxes) > 30
    spots = ax.transData.transform(np.column_stack([x, y]))
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        inside = (spots > [x0, y0]).all(axis=1) & (spots < [x1, y1]).all(axis=1)
        assert not inside.any()
        for a0, b0, a1, b1 in boxes[:i]:
            assert x1 <= a0 + 1 or a1 <= x0 + 1 or y1 <= b0 + 1 or b1 <= y0 + 1


def test_cells_have_one_colour_in_all_pictures():
    """Real cells are blue and predicted ones are orange, in pictures and in the report."""
    from shoal.report import _figures

    assert (REAL, PREDICTED) == ("#0072B2", "#D55E00")
    assert PREDICTED == _figures.RIVAL


@pytest.mark.parametrize("n_axes", [1, 2])
def test_what_are_no_axes_is_refused(n_axes):
    figure, axes = plt.subplots(2, 2)
    several = axes.ravel()
    canvas(several[0] if n_axes == 1 else several[:2], n_axes=n_axes)
    for bad in (axes, [several[0]], several[[0, 0]], several[:3], figure, "ax", 3, plt, [], {}):
        with pytest.raises((TypeError, ValueError), match=r"ax must be .* axes of .*, not .*pass"):
            canvas(bad, n_axes=n_axes)


@pytest.mark.parametrize("projection", ["polar", "3d"])
def test_axes_of_a_projection_are_refused(projection):
    ax = plt.figure().add_subplot(projection=projection)
    with pytest.raises(ValueError, match=f"ax has the projection {projection!r}"):
        canvas(ax)


def test_a_size_may_be_an_array():
    ax = canvas(figsize=np.array([4.0, 3.0])).axes(width=1, height=1)
    assert ax.figure.get_size_inches().tolist() == [4, 3]
