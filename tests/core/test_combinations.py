"""Which labels are combinations: hand-made sets of labels as screens have them."""

from __future__ import annotations

import pytest

from shoal.core._combinations import joined_by_others, pieces, single_names, strict_pieces

CONTROL = {"control"}


def whole(labels, known=CONTROL):
    """Return the labels that are read as names although they hold a +."""
    return {name for name in single_names(labels, known) if "+" in name}


def parts(labels, known=CONTROL):
    """Return the single perturbations, without the controls."""
    return set(single_names(labels, known)) - set(known)


@pytest.mark.parametrize(
    "names",
    [
        ["(+)-JQ1", "JQ1"],
        ["ENMD-2076 L-(+)-Tartaric acid", "ENMD-2076"],
        ["flurbiprofen-(+|-)", "atenolol-(+|-)", "flurbiprofen"],
        ["non-targeting_+_0001", "non-targeting_+_0002", "non-targeting"],
        ["A_+_0001", "A_+_0002", "B_+_0001", "B_+_0002"],
        ["KLF1_+_55297606.23-P1P2", "KLF1"],
        ["stim_CD14+ Monocytes", "ctrl_CD14+ Monocytes", "CD14", "Monocytes"],
        ["CD4+", "CD8+", "CD4"],
        ["CD4+CD25+ Treg", "CD4", "CD25", "Treg"],
        ["+", "++", "A", "A++B", "+A"],
        ["10+5 uM", "5 uM"],
        ["A+B", "C+D"],
        ["Ca2+", "Ca2+ ionophore", "ionophore"],
    ],
)
def test_a_plus_within_a_name(names):
    assert whole(names) == {name for name in names if "+" in name}
    assert parts(names) == set(names)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["A", "B", "A+B"], {"A", "B"}),
        (["B+A", "A"], {"A", "B"}),  # one part is a label
        (["A", "A+B", "B+C", "C+D"], {"A", "B", "C", "D"}),  # a chain
        (["A+B", "B+C", "A+C"], {"A", "B", "C"}),  # all parts recur
        (["A+control", "A+B"], {"A", "B"}),  # a control is a part
        (["A + B", "A"], {"A", "B"}),
        (["HLA-DRA", "NKX2-1", "HLA-DRA+NKX2-1", "MT-CO1"], {"HLA-DRA", "NKX2-1", "MT-CO1"}),
        (["A 10 uM + B 5 uM", "A 10 uM", "B 5 uM"], {"A 10 uM", "B 5 uM"}),
        (["(+)-JQ1", "aspirin", "(+)-JQ1+aspirin"], {"(+)-JQ1", "aspirin"}),
        (["TNFα", "IFN-γ+TNFα"], {"TNFα", "IFN-γ"}),
        (["A", "B", "C", "A+B+C"], {"A", "B", "C"}),
        (["1", "2", "1+2", "1+7"], {"1", "2", "7"}),
        (["A", "A+A"], {"A"}),
    ],
)
def test_combinations(names, expected):
    assert parts(names) == expected


def test_a_screen_of_combinations_is_read_as_one():
    pairs = [f"g{i}+g{i + 1}" for i in range(5)]
    assert parts(["g0", *pairs, "X+Y"]) == {*(f"g{i}" for i in range(6)), "X", "Y"}
    assert "X+Y" in parts(["g0", *pairs[:4], "X+Y"]), "four say too little"
    assert "X+Y" in parts(["g0", *pairs, "X+Y", "V+W"]), "five in seven say too little"
    assert "(+)-X" in parts(["g0", *pairs, "(+)-X"])


def test_what_is_known_before_stays():
    assert parts(["A", "B", "A+B"], {"A+B"}) == {"A", "B"}, "A+B is among the known names"
    assert parts(["A+B"], {"A", "B", "control"}) == set()


def test_the_order_of_labels_does_not_matter(rng):
    names = ["A", "A+B", "B+C", "C+D", "X+Y", "Y+Z", "X+Z", "U+V", "(+)-W"]
    for _ in range(5):
        assert single_names(rng.permutation(names).tolist(), CONTROL) == single_names(
            names, CONTROL
        )


def test_pieces():
    assert pieces("A_B", "_") == ["A", "B"]
    assert pieces("A__B", "_") == ["A", "B"]
    assert pieces("CD4+", "+") == ["CD4+"]
    assert pieces("A+B", "") == ["A+B"]
    assert strict_pieces("A++B", "+") == ["A++B"]
    assert strict_pieces("(a+b)+c", "+") == ["(a+b)", "c"]
    assert strict_pieces("(a+b", "+") == ["(a", "b"]
    assert strict_pieces("A +B", "+") == ["A +B"]


@pytest.mark.parametrize("sep", ["_", ",", ";", "|", "&", ":", "/", "-", " ", "; ", " | "])
def test_other_separators(sep):
    names = ["KLF1", "MAP2K6", f"KLF1{sep}MAP2K6", "HLA-DRA", "a b"]
    first = next(iter(joined_by_others(names, CONTROL).items()))
    assert first == (sep.strip() or " ", [f"KLF1{sep}MAP2K6"])


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["A_B", "B_C", "A_C"], ["A_B", "A_C", "B_C"]),  # no single one
        (["A_control", "B_control"], ["A_control", "B_control"]),
        (["A", "B", "A_B_x"], ["A_B_x"]),  # most parts
    ],
)
def test_labels_that_look_joined(names, expected):
    assert joined_by_others(names, CONTROL) == {"_": expected}


@pytest.mark.parametrize(
    "names",
    [
        ["KLF1_1", "KLF1_2", "GATA1_1", "GATA1_2"],
        ["KLF1_sg1", "KLF1_sg2", "GATA1_sg1", "GATA1_sg2"],
        ["non-targeting_0001", "non-targeting_0002", "STAT1"],
        ["NKX2-1", "HLA-DRA", "MT-CO1", "HLA-A"],
        ["drug A", "drug B", "S3I-201", "1,2-propanediol"],
        ["day 1", "day 2"],
    ],
)
def test_names_that_do_not_look_joined(names):
    assert joined_by_others(names, CONTROL) == {}
