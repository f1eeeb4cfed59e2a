"""Labels of control cells: usual ones, which are recognised, and those that look like controls."""

from __future__ import annotations

import re

CONTROLS = (  # labels that mean an unperturbed cell wherever they stand, in lower case
    "control",
    "ctrl",
    "non-targeting",
    "non_targeting",
    "nontargeting",
    "nt",
    "ntc",
    "negctrl",
    "dmso",
    "vehicle",
    "unperturbed",
    "untreated",
    "unstimulated",
)
ALIKE = (  # these too, but in some screens they are perturbations
    "negative control",
    "neg ctrl",
    "neg control",
    "no target",
    "safe",
    "safe targeting",
    "safe harbor",
    "safe harbour",
    "intergenic",
    "scramble",
    "scrambled",
    "aavs1",
    "lacz",
    "mock",
    "pbs",
    "water",
    "dmso tf",
    "non targeting control",
    "empty vector",
    "wild type",
    "wt",
)
NUMBER = re.compile(r"[\W_]*\d+$")  # of a guide or a plate, as in "NT_3"
BETWEEN = re.compile(r"[\W_]+")


def is_usual(label: str) -> bool:
    """Whether a label is a usual one of control cells."""
    return label.strip().casefold() in CONTROLS


def looks_like_control(label: str) -> bool:
    """Whether a label is a usual one of control cells, one with a number, or a less usual one."""
    own = label.strip().casefold()
    without = {own, NUMBER.sub("", own)}
    return any(one in CONTROLS or BETWEEN.sub(" ", one).strip() in ALIKE for one in without)
