"""Drawing of simulated cells: a nucleus in a cytoplasm, from a few parameters; arrays only.

The parameters of a cell are those of its biology. What else makes an image is drawn from the seed
of the cell: where it lies, its outline, its texture and the noise of the camera. A cell is drawn
with other parameters and the same seed to see what a treatment would have done to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from .._typing import Bools, Floats, Ints

CHANNELS = ("DNA", "actin", "protein")
# parameter -> (typical value, standard deviation between cells on the scale of effects); radii are
# parts of the size of a crop. Effects are added to the logit of a share and to the log of all else.
PARAMETERS = {
    "nucleus_radius": (0.16, 0.08),
    "cell_radius": (0.34, 0.08),
    "elongation": (1.25, 0.1),
    "dna": (1.0, 0.12),
    "actin": (1.0, 0.15),
    "protein": (1.0, 0.15),
    "nuclear_share": (0.15, 0.25),
    "texture": (0.25, 0.2),
}
SHARE = tuple(PARAMETERS).index("nuclear_share")
# kind -> what a perturbation of effect size 1 adds to parameters, and to the probability of death
KINDS = {
    "size": {"nucleus_radius": 0.25, "cell_radius": 0.15},
    "intensity": {"dna": -0.35, "protein": 0.45},
    "texture": {"texture": 0.9, "actin": 0.3},
    "translocation": {"nuclear_share": 2.0},
    "death": {"dead": 0.35},
    "null": {},
}
DEATH = {  # what happens to a cell that dies
    "nucleus_radius": -0.45,
    "cell_radius": -0.6,
    "elongation": -0.2,
    "dna": 0.5,
    "actin": -0.5,
    "texture": 0.5,
}
EDGE = 0.7  # width of an edge, in pixels
LEVEL = 65.0  # intensity of 1, in counts of 8 bits
SHOT, READ = 0.6, 1.5  # noise of the camera: variance in units of the signal, standard deviation
BLOCK = 512  # cells drawn at once


@dataclass(frozen=True)
class Camera:
    """What the plates do to an image.

    Attributes
    ----------
    size
        Height and width of a crop, in pixels.
    dtype
        ``"uint8"`` or ``"uint16"``.
    gain, offset
        (n_plates, 3) factor on the intensities of each channel, and what is added to them.
    """

    size: int
    dtype: str
    gain: Floats
    offset: Floats

    def picture(self, values: Floats, plate: Ints, noise: Floats) -> np.ndarray:
        """Return (n, 3, H, W) images of intensities, with noise, in whole numbers."""
        unit = self.offset[plate][..., None, None] + self.gain[plate][..., None, None] * values
        seen = LEVEL * unit
        seen = seen + np.sqrt(SHOT * np.maximum(seen, 0) + READ**2) * noise
        top = float(np.iinfo(self.dtype).max)
        return np.clip(np.rint(seen * ((top + 1) / 256)), 0, top).astype(self.dtype)


def to_effects(natural: Floats) -> Floats:
    """Return (n, 8) parameters on the scale on which effects are added."""
    scale = np.log(natural)
    scale[:, SHARE] -= np.log1p(-natural[:, SHARE])
    return scale


def to_natural(scale: Floats) -> Floats:
    """Return (n, 8) parameters from the scale of effects: the inverse of `to_effects`."""
    natural = np.exp(scale)
    natural[:, SHARE] = 1 / (1 + np.exp(-scale[:, SHARE]))
    return natural


def vector_of(shifts: dict[str, float]) -> Floats:
    """Return the (8,) shifts of all parameters."""
    return np.array([shifts.get(name, 0.0) for name in PARAMETERS])


def untreated(n: int, rng: np.random.Generator) -> Floats:
    """Draw (n, 8) parameters of untreated cells, on the scale of effects."""
    typical = np.array([[value for value, _ in PARAMETERS.values()]])
    spread = np.array([sd for _, sd in PARAMETERS.values()])
    return to_effects(typical) + spread * rng.standard_normal((n, len(PARAMETERS)))


def treated(scale: Floats, shift: Floats, dead: Floats, seed: Ints) -> tuple[Floats, Bools]:
    """Return parameters after a treatment, in natural units, and which cells are dead.

    Parameters
    ----------
    scale
        (n, 8) parameters of the untreated cells, on the scale of effects.
    shift
        (n, 8) what the treatments add.
    dead
        (n,) probability that a cell is dead. A cell that dies at one probability also dies at all
        higher ones.
    seed
        (n,) seeds of the cells.
    """
    dies = np.array([np.random.default_rng([1, int(s)]).random() for s in seed]) < dead
    return to_natural(scale + shift + dies[:, None] * vector_of(DEATH)), dies


def draw_cells(natural: Floats, seed: Ints, plate: Ints, camera: Camera) -> np.ndarray:
    """Draw (n, 3, H, W) images of cells.

    Parameters
    ----------
    natural
        (n, 8) parameters, in natural units.
    seed
        (n,) seeds of all that is no parameter.
    plate
        (n,) plates of the cells.
    camera
        What plates do to an image.
    """
    shape = (len(natural), len(CHANNELS), camera.size, camera.size)
    images = np.empty(shape, dtype=camera.dtype)
    for start in range(0, len(natural), BLOCK):
        at = slice(start, start + BLOCK)
        place, fields = _accidents(seed[at], camera.size)
        values = _intensities(natural[at], place, fields[:, :3], camera.size)
        images[at] = camera.picture(values, plate[at], fields[:, 3:])
    return images


def _accidents(seed: Ints, size: int) -> tuple[Floats, Floats]:
    """Return what is drawn from the seeds of cells.

    Returns
    -------
    place
        (n, 5) centre (y, x, in pixels), angles of cell and nucleus, and phase of the outline.
    fields
        (n, 6, H, W) normal noise: three smooth fields for the texture, three for the camera.
    """
    place, fields = np.empty((len(seed), 5)), np.empty((len(seed), 6, size, size))
    for i, s in enumerate(seed):
        rng = np.random.default_rng([0, int(s)])
        place[i, :2] = rng.uniform(-0.03, 0.03, 2) * size
        place[i, 2:] = rng.uniform(0, 2 * np.pi, 3)
        rng.standard_normal(out=fields[i])
    width = max(1.0, size / 32)
    smooth = ndimage.gaussian_filter(fields[:, :3], (0, 0, width, width), mode="wrap")
    fields[:, :3] = smooth * (2 * np.sqrt(np.pi) * width)  # of variance 1 again
    return place, fields


def _intensities(natural: Floats, place: Floats, texture: Floats, size: int) -> Floats:
    """Return (n, 3, H, W) intensities without plate and noise."""
    values = dict(zip(PARAMETERS, natural.T[..., None, None], strict=True))
    y0, x0, cell_angle, nucleus_angle, phase = place.T[..., None, None]
    grid = np.arange(size) - (size - 1) / 2
    y, x = grid[None, :, None] - y0, grid[None, None, :] - x0
    stretch = np.sqrt(values["elongation"])
    outline = 1 + 0.12 * np.cos(3 * np.arctan2(y, x) + phase)
    cell = _ellipse(y, x, cell_angle, values["cell_radius"] * size * outline, stretch)
    nucleus = _ellipse(y, x, nucleus_angle, values["nucleus_radius"] * size, stretch)
    nucleus = nucleus * cell  # which lies within the cell
    body, share, rough = cell * (1 - nucleus), values["nuclear_share"], values["texture"]
    part = np.clip((values["nucleus_radius"] / values["cell_radius"]) ** 2, 0.05, 0.8)
    protein = share / part * nucleus + (1 - share) / (1 - part) * body  # its total stays the same
    actin = (body + 0.4 * nucleus) * np.exp(rough * texture[:, 1] - rough**2 / 2)
    return np.stack(
        [
            values["dna"] * nucleus * (1 + 0.15 * texture[:, 0]),
            values["actin"] * actin,
            values["protein"] * protein * (1 + 0.1 * texture[:, 2]),
        ],
        axis=1,
    )


def _ellipse(y: Floats, x: Floats, angle: Floats, radius: Floats, stretch: Floats) -> Floats:
    """Return (n, H, W) ellipses of area pi radius², 1 within, 0 outside, with soft edges."""
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    distance = np.hypot(along / stretch, across * stretch)
    return 1 / (1 + np.exp(np.clip((distance - radius) / EDGE, -50, 50)))
