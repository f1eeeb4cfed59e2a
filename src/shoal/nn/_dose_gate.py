"""How much of a response a dose brings out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

SLOPE = 0.5  # before softplus, of a vector of zeros


class DoseGate(nn.Module):
    """A Hill curve: the share of the full response at a dose, by the vector of the perturbation.

    The share is ``sigmoid(a + b x)`` of the standardised log dose x. The vector gives a, which says
    at what dose half of the response is there, and b > 0, how steep it is. Without a dose x is 0.

    Parameters
    ----------
    d
        Length of the vector of a perturbation.
    """

    def __init__(self, d: int) -> None:
        super().__init__()
        self.curve = nn.Linear(d, 2)

    def forward(self, vector: Tensor, dose: Tensor) -> Tensor:
        """Return the shares (..., 1), between 0 and 1.

        Parameters
        ----------
        vector
            (..., d) vectors of perturbations.
        dose
            (..., 2) the standardised log dose, and 1 if there is one.
        """
        place, slope = self.curve(vector).chunk(2, dim=-1)
        value, there = dose.split(1, dim=-1)
        return torch.sigmoid(place + nn.functional.softplus(slope + SLOPE) * value * there)
