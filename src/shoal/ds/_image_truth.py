"""What treatments and plates do to simulated cells, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._validate import positive
from ._image_cells import CHANNELS, KINDS, PARAMETERS, Camera, vector_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._typing import Floats, Ints

DEATH = "dead"


def responses_of(doses: Sequence[float] | None) -> dict[float, float]:
    """Return the response at each dose, 1 without doses.

    Raises
    ------
    TypeError
        If doses are no numbers.
    ValueError
        If there are none, or one is not above 0.
    """
    if doses is None:
        return {1.0: 1.0}
    if isinstance(doses, str) or not hasattr(doses, "__len__") or len(doses) == 0:
        msg = f"doses must be numbers above 0, not {doses!r}"
        raise (ValueError if hasattr(doses, "__len__") and len(doses) == 0 else TypeError)(msg)
    for dose in doses:
        positive(dose, name="doses")
    ec50 = float(np.exp(np.log(list(doses)).mean()))
    return {float(dose): float(dose / (dose + ec50)) for dose in doses}


def dose_table(response: dict[float, float]) -> pd.DataFrame:
    return pd.DataFrame(
        {"dose": list(response), "response": list(response.values())},
        index=[str(dose) for dose in response],
    )


def effects_of(names: Sequence[str], kinds: Sequence[str], effect_size: float) -> pd.DataFrame:
    """Return the shift of every parameter by every perturbation."""
    own = [kinds[i % len(kinds)] for i in range(len(names))]
    sign = [1.0 if i // len(kinds) % 2 == 0 else -1.0 for i in range(len(names))]
    shifts = np.array(
        [s * effect_size * vector_of(KINDS[k]) for k, s in zip(own, sign, strict=True)]
    )
    killed = [min(0.9, effect_size * KINDS[kind].get(DEATH, 0.0)) for kind in own]
    table = pd.DataFrame(
        shifts.reshape(len(names), len(PARAMETERS)),
        index=pd.Index(names, name="perturbation"),
        columns=list(PARAMETERS),
    )
    table.insert(0, "kind", own)
    return table.assign(dead=killed)


def shifts_of(table: pd.DataFrame, code: Ints, reached: Floats) -> tuple[Floats, Floats]:
    """Return the shifts of parameters and of the probability of death; code -1 has none."""
    shifts = np.vstack([table[list(PARAMETERS)].to_numpy(), np.zeros(len(PARAMETERS))])
    killed = np.append(table["dead"].to_numpy(), 0.0)
    return shifts[code] * reached[:, None], killed[code] * reached


def pixels_of(size: int) -> Floats:
    """Return the factors that turn parts of a crop into pixels; 1 for what is no length."""
    return np.array([size if name.endswith("radius") else 1.0 for name in PARAMETERS])


def in_pixels(natural: Floats, size: int) -> dict[str, Floats]:
    return dict(zip(PARAMETERS, (natural * pixels_of(size)).T, strict=True))


def plates_of(camera: Camera, batches: Sequence[str]) -> pd.DataFrame:
    n = len(CHANNELS)
    return pd.DataFrame(
        {
            "batch": np.repeat(batches, n),
            "channel": np.tile(CHANNELS, len(batches)),
            "gain": camera.gain.ravel(),
            "offset": camera.offset.ravel(),
        },
        index=[str(i) for i in range(n * len(batches))],
    )
