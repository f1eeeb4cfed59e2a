"""What the docstrings of the losses between populations say about arguments that they share."""

from __future__ import annotations

from .._docs import shared

documented = shared(
    {
        "cells": "(K, S, D) cells of K populations.",
        "other_cells": "(K, T, D) cells of the populations that they are compared with.",
        "weights": (
            "(K, S) and (K, T) weights of the slots; 0 leaves a slot out. By default all count\n"
            "the same."
        ),
        "epsilon": (
            "Regularisation, in the units of the cost; "
            "or as a share of the mean cost between x and\n"
            "y, if `epsilon_relative`."
        ),
        "epsilon_relative": "Whether `epsilon` is such a share.",
        "power": "1 for Euclidean distances, 2 for their squares.",
        "n_iterations": "Largest number of iterations of :func:`shoal.generative.sinkhorn`.",
        "tolerance": "Largest error of the marginals at which the solver stops.",
        "unsolved": "Called with the errors of the marginals if the solver missed `tolerance`.",
    }
)
