"""The checks of a split that need its labels: each reads the same facts and returns one finding."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..core._matrix import as_rows
from ..core._population import SPLITS
from ..core._screen import Labels
from ..core._split_units import BY, level_of
from ._split_fits import smiles_of
from ._split_rows import identical_groups

if TYPE_CHECKING:
    from anndata import AnnData

    from .._typing import Bools, Ints
    from ..core._screen import Screen

SIDES = SPLITS
TRAIN, TEST = 0, SPLITS.index("test")


@dataclass(frozen=True)
class Finding:
    """What a check found: its status, how many things it concerns, and words."""

    status: str
    n: int
    detail: str


@dataclass(frozen=True)
class Facts:
    """A screen and the side of every cell.

    Attributes
    ----------
    adata, screen, labels
        The screen, its design, and the perturbation of every cell.
    side
        (n_obs,) position in `SIDES`, -1 for none.
    by, parts_seen, zero_shot
        What the split holds out, see :func:`shoal.pp.split`. None if that is not known.
    well_key
        Column of ``obs`` with the position on the plate; ``None`` if it is not known.
    """

    adata: AnnData
    screen: Screen
    labels: Labels
    side: Ints
    by: str | None = None
    parts_seen: int | None = None
    zero_shot: bool = False
    well_key: str | None = None

    @cached_property
    def perturbed(self) -> Bools:
        """(n_obs,) which cells are perturbed and on a side."""
        return (self.labels.code >= 0) & ~self.labels.is_control & (self.side >= 0)

    @cached_property
    def held(self) -> Bools:
        """(n_obs,) which cells are held out."""
        return self.side > TRAIN

    def level(self, level: str) -> Ints:
        """Return (n_obs,) codes of contexts, doses, guides or batches; 0 if the screen has none."""
        if getattr(self.screen, f"{level}_key") is None:
            return np.zeros(self.adata.n_obs, dtype=np.int64)
        return level_of(self.adata, self.screen, level)[0]

    @cached_property
    def unit(self) -> Ints:
        """(n_obs,) code of what is held out as a whole.

        If `by` is not known, this is perturbation x context x dose. A split of contexts with
        `zero_shot` holds out whole contexts for the test, and perturbation x context of the others.
        """
        if self.by == "context":
            context = self.level("context")
            if not self.zero_shot:
                return context
            tested = np.unique(context[self.perturbed & (self.side == TEST)])
            condition = _combined(self.labels.code, context + 1)
            whole = np.isin(context, tested) & (context >= 0)
            return np.where(whole, condition.max(initial=-1) + 1 + context, condition)
        level = BY.get(self.by or "")
        levels = [level] if level else [] if self.by else ["context", "dose"]
        # cells whose level is missing are a level of their own: they can leak as others can
        return _combined(self.labels.code, *(self.level(name) + 1 for name in levels))

    @cached_property
    def trained(self) -> frozenset[str]:
        """Perturbations with training cells."""
        return self._names(self.side == TRAIN)

    @cached_property
    def held_out(self) -> frozenset[str]:
        """Perturbations with held-out cells and no training cell."""
        return self._names(self.held) - self.trained

    def _names(self, cells: Bools) -> frozenset[str]:
        codes = np.unique(self.labels.code[cells & self.perturbed])
        return frozenset(str(self.labels.names[i]) for i in codes)


def same_condition(facts: Facts) -> Finding:
    """Check whether a unit that is held out is also trained on."""
    both = on_several_sides(facts.unit, facts.side, facts.perturbed)
    if not len(both):
        return Finding("ok", 0, "every held-out unit is on one side")
    held = facts.unit[facts.held & facts.perturbed]
    total = len(np.unique(held[held >= 0]))
    examples = facts.labels.code[
        [np.flatnonzero((facts.unit == u) & facts.perturbed)[0] for u in both[:3]]
    ]
    names = dict.fromkeys(str(facts.labels.names[i]) for i in examples)
    return Finding(
        "leak",
        len(both),
        f"{len(both)} of {total} held-out conditions have cells on another side too, as of "
        f"{', '.join(names)}",
    )


def two_spellings(facts: Facts) -> Finding:
    """Check whether one spelling of a combination is held out and another trained on."""
    if facts.by is not None and facts.by not in ("perturbation", "combination"):
        return Finding("not applicable", 0, f"by={facts.by!r}: perturbations are on both sides")
    raw, texts = pd.factorize(facts.adata.obs[facts.screen.perturbation_key], use_na_sentinel=True)
    sides: dict[int, dict[int, set[str]]] = {}
    cells = facts.perturbed
    for code, text, held in set(
        zip(facts.labels.code[cells], raw[cells], facts.held[cells], strict=True)
    ):
        sides.setdefault(int(code), {}).setdefault(int(text), set()).add(
            "held" if held else "train"
        )
    several = {code: own for code, own in sides.items() if len(own) > 1}
    apart = [
        code
        for code, own in several.items()
        if {"held"} in own.values() and {"train"} in own.values()
    ]
    if apart:
        names = [str(texts[t]) for t in sorted(several[min(apart)])]
        return Finding(
            "leak", len(apart), f"one perturbation under several names, as {' and '.join(names)}"
        )
    return Finding(
        "ok", 0, f"{len(several)} perturbations have several spellings, each on one side"
    )


def same_molecule(facts: Facts) -> Finding:
    """Check by SMILES whether a drug is held out under one name and trained on under another."""
    if facts.by == "context":
        return Finding("not applicable", 0, "by='context': perturbations are on both sides")
    smiles = smiles_of(facts.adata)
    if not smiles:
        return Finding(
            "not applicable",
            0,
            "no SMILES are known; sh.pp.embed(method='fingerprint') records them",
        )
    names = [str(name) for name in facts.labels.names]
    drug = [
        " + ".join(sorted({smiles.get(part, part) for part in facts.screen.parts(name)}))
        for name in names
    ]
    code, drugs = pd.factorize(np.array(drug, dtype=object))
    control = np.array([len(drugs), -1], dtype=np.int64)
    merged = replace(
        facts, labels=Labels(pd.Index(drugs), np.concatenate([code, control])[facts.labels.code])
    )
    both = (
        np.isin(merged.unit, on_several_sides(merged.unit, merged.side, merged.perturbed))
        & merged.perturbed
    )
    pairs = (
        pd.DataFrame({"unit": merged.unit, "name": facts.labels.code})[both]
        .drop_duplicates()
        .sort_values("name")
    )
    groups = [own for _, own in pairs.groupby("unit")["name"] if len(own) > 1]
    if groups:
        shown = dict.fromkeys(" = ".join(names[i] for i in own) for own in groups)
        return Finding(
            "leak",
            len(groups),
            f"one molecule on several sides under several names: {'; '.join(list(shown)[:6])}",
        )
    return Finding(
        "ok",
        0,
        f"{len(names) - len(drugs)} perturbations are another name of one, each on its side",
    )


def parts_seen(facts: Facts) -> Finding:
    """Check what training knows of the parts of held-out combinations."""
    if facts.by is not None and BY[facts.by] is not None:
        return Finding("not applicable", 0, f"by={facts.by!r}: perturbations are on both sides")
    pairs = [facts.screen.parts(name) for name in sorted(facts.held_out)]
    pairs = [own for own in pairs if len(own) > 1]
    if not pairs:
        return Finding("not applicable", 0, "no combination is held out")
    inside = {part for name in facts.trained for part in facts.screen.parts(name)}
    seen = [sum(facts.screen.canonical(part) in facts.trained for part in own) for own in pairs]
    split = ", ".join(f"{n} seen: {k}" for n, k in sorted(Counter(seen).items(), reverse=True))
    detail = f"held-out combinations by parts seen alone in training: {split}"
    if facts.by != "combination":
        return Finding("by design" if any(seen) else "ok", sum(n > 0 for n in seen), detail)
    wanted = [len(own) if facts.parts_seen is None else facts.parts_seen for own in pairs]
    touched = [sum(part in inside for part in own) for own in pairs]
    wrong = sum(not n == w == t for n, w, t in zip(seen, wanted, touched, strict=True))
    return Finding(
        "leak" if wrong else "by design" if any(seen) else "ok",
        wrong or sum(n > 0 for n in seen),
        detail,
    )


def held_out_part(facts: Facts) -> Finding:
    """Check whether a held-out perturbation is part of a combination that is trained on."""
    if facts.by is not None and facts.by != "perturbation":
        return Finding("not applicable", 0, f"by={facts.by!r} holds out no single perturbation")
    singles = {name for name in facts.held_out if len(facts.screen.parts(name)) == 1}
    owners = [name for name in sorted(facts.trained) if len(facts.screen.parts(name)) > 1]
    leaking = sorted(singles & {part for name in owners for part in facts.screen.alone(name)})
    if leaking:
        return Finding(
            "leak", len(leaking), f"trained on in combinations: {', '.join(leaking[:6])}"
        )
    return Finding("ok", 0, "no held-out perturbation is part of a training combination")


def unseen_perturbation(facts: Facts) -> Finding:
    """Check whether a perturbation that should be known is not in training at all."""
    if facts.by is None or BY[facts.by] is None:
        return Finding("not applicable", 0, "held-out perturbations are meant to be unseen")
    unseen = sorted(facts.held_out)
    if unseen:
        return Finding(
            "leak",
            len(unseen),
            f"held out everywhere, so another question: {', '.join(unseen[:6])}",
        )
    detail = "training has seen every held-out perturbation elsewhere"
    if facts.by == "dose":
        detail += f"; {_n_extrapolated(facts)} held-out doses lie outside its range: extrapolation"
    return Finding("ok", 0, detail)


def control_cells(facts: Facts) -> Finding:
    """Tell where the control cells are."""
    control = facts.labels.is_control
    counts = [f"{int((control & (facts.side == i)).sum())} {name}" for i, name in enumerate(SIDES)]
    detail = f"control cells: {', '.join(counts)}; sources on both sides, never scored"
    if facts.screen.context_key is not None:
        context, names = level_of(facts.adata, facts.screen, "context")
        bare = set(context[facts.perturbed & facts.held]) - set(context[control]) - {-1}
        if bare:
            detail += f"; none in the held-out contexts {', '.join(names[i] for i in sorted(bare))}"
        alone = set(context[control]) - set(context[(facts.labels.code >= 0) & ~control]) - {-1}
        if alone:
            detail += (
                f"; no perturbed cell beside them in {', '.join(names[i] for i in sorted(alone))}"
            )
    return Finding("by design", int(control.sum()), detail)


def shared_batches(facts: Facts) -> Finding:
    """Check whether replicates, plates or wells hold perturbed cells of several sides."""
    if facts.screen.batch_key is None:
        return Finding("not applicable", 0, "the screen has no batch_key")
    batch = facts.level("batch")
    cells = facts.perturbed & (batch >= 0)
    both = on_several_sides(batch, facts.side, cells)
    same = on_several_sides(_combined(facts.unit, batch), facts.side, cells)
    if len(same):
        return Finding(
            "leak",
            len(same),
            "the same condition of the same batch is on several sides: pseudo-replicates",
        )
    total = len(np.unique(batch[cells]))
    detail = f"{len(both)} of {total} batches hold cells of several sides"
    return Finding("by design" if len(both) else "ok", len(both), detail)


def identical_cells(facts: Facts) -> Finding:
    """Check whether copies of a cell are on several sides."""
    if facts.adata.X is None:
        return Finding("not applicable", 0, "X is empty")
    group = identical_groups(as_rows(facts.adata.X, slot="X"))
    copies = (group >= 0) & (facts.side >= 0)
    across = np.isin(group, on_several_sides(group, facts.side, copies)) & copies & facts.held
    if across.any():
        first = facts.adata.obs_names[np.flatnonzero(across)[0]]
        return Finding(
            "leak", int(across.sum()), f"held-out cells with a copy on another side, as {first!r}"
        )
    return Finding(
        "ok", 0, f"{int(copies.sum())} cells have an exact copy in X, none on another side"
    )


def _n_extrapolated(facts: Facts) -> int:
    """Return how many held-out doses are outside the range of training, for their perturbation."""
    cells = facts.perturbed
    frame = pd.DataFrame(
        {"of": facts.labels.code, "dose": facts.level("dose"), "side": facts.side}
    )[cells]
    known = frame[frame["side"] == TRAIN].groupby("of")["dose"].agg(["min", "max"])
    held = frame[frame["side"] > TRAIN].drop_duplicates(["of", "dose"]).join(known, on="of")
    return int(((held["dose"] < held["min"]) | (held["dose"] > held["max"])).sum())


def on_several_sides(code: Ints, side: Ints, cells: Bools) -> Ints:
    """Return the codes that `cells` of more than one side have."""
    n, known = len(SIDES) + 1, cells & (code >= 0)
    pairs = np.unique(code[known] * n + side[known] + 1)  # one number for a code and a side
    codes, count = np.unique(pairs // n, return_counts=True)
    return codes[count > 1]


def _combined(*codes: Ints) -> Ints:
    """Return one code for each combination of codes; -1 where any is missing."""
    out = codes[0].copy()
    for code in codes[1:]:
        out = np.where((out >= 0) & (code >= 0), out * (int(code.max(initial=0)) + 1) + code, -1)
    return out
