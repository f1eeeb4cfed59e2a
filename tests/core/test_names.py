"""Names of perturbations: as the labels write them, whatever spelling is asked for."""

from __future__ import annotations

from collections import Counter

import pytest

from shoal.core._names import Names


def read(*labels, control=("ctrl",), **options):
    return Names(control, **options).reading(Counter(labels))


def test_a_name_is_the_label_as_it_is_written():
    names = read("ctrl", "A", "B+A", "C + A", "(+)-D", "(+)-D+A")
    for label in ("A", "B+A", "C + A", "(+)-D", "(+)-D+A"):
        assert names.canonical(label) == label
    assert names.canonical("A+B") == "B+A"
    assert names.canonical(" A+C ") == "C + A"
    assert names.canonical("A+(+)-D") == "(+)-D+A"
    assert names.parts("(+)-D+A") == ("(+)-D", "A")
    assert names.parts("B+A") == names.parts("A+B") == ("A", "B")


def test_the_more_frequent_form_is_the_name():
    assert read("A", "A+B", "B+A", "B+A").canonical("A+B") == "B+A"
    assert read("A", "A+B", "B+A").canonical("B+A") == "A+B", "of equals the sorted one"
    names = read("A+ctrl", "ctrl+A", "ctrl+A")
    assert names.canonical("A") == names.canonical("A+ctrl") == "ctrl+A"
    assert read("A", "A+ctrl", "A+ctrl").canonical("A+ctrl") == "A", "a plain name, where it occurs"


def test_a_part_that_is_written_with_the_control():
    names = read("A+ctrl", "B", "A+B")
    assert names.parts("A+ctrl") == names.parts("A") == ("A",)
    assert names.alone("B+A") == ("A+ctrl", "B")
    assert names.canonical("ctrl+ctrl") == "ctrl"


@pytest.mark.parametrize("label", ["A+B", "B+A", " A + B "])
def test_a_new_combination(label):
    names = read("A", "B")
    assert names.canonical(label) == "A+B"
    assert names.as_asked(label) == label.strip()
    assert names.parts(label) == ("A", "B")
    assert read("A", "B", "B+A").as_asked(label) == "B+A", "as the screen writes it"


def test_a_new_label_of_unknown_parts_is_a_name():
    names = read("A", "B")
    assert names.parts("X+Y") == ("X+Y",)
    assert names.knowing(["X", "Y", "(+)-Z"]).parts("X+Y") == ("X", "Y")
    assert names.knowing(["(+)-Z"]).parts("A+(+)-Z") == ("(+)-Z", "A")
    assert names.knowing(["A+B"]).parts("A+B") == ("A", "B"), "a vector of a pair is not needed"


def test_what_was_read_holds_for_a_part_of_the_labels():
    names = read("A", "B+A", "C+B", "C+B", "B+C", "x+y")
    again = names.reading(Counter(["B+A", "B+C"]))
    assert again.canonical("A+B") == "B+A"
    assert again.canonical("B+C") == "C+B", "not written so here, but in the whole screen"
    assert again.parts("B+A") == ("A", "B")
    later = names.reading(Counter(["x", "y", "x+y"]))
    assert later.parts("x+y") == ("x+y",), "a name stays a name"


def test_a_separator_that_is_given_always_splits():
    names = read("A_B", "C__D", "x_", "ctrl_E", "ctrl_ctrl", sep="_")
    assert names.parts("A_B") == ("A", "B")
    assert names.parts("C__D") == ("C", "D")
    assert names.parts("x_") == ("x_",)
    assert names.canonical("E") == "ctrl_E"
    assert names.canonical("ctrl_ctrl") == "ctrl"
    assert read("A+B", "A", sep="").parts("A+B") == ("A+B",)
