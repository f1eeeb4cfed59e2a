"""Texts that the docstrings of simulated screens share."""

from .._docs import shared

fill = shared(
    {
        "effects": (
            "Kinds of effect, given to the perturbations in turn:\n\n"
            '- ``"shift"``: all cells respond alike;\n'
            '- ``"dispersion"``: the same, and the cells vary more;\n'
            '- ``"penetrance"``: only a share of the cells responds;\n'
            '- ``"programmes"``: each cell follows one of two orthogonal directions;\n'
            '- ``"null"``: no effect.'
        ),
        "penetrance": 'Probability that a cell responds, for the kind ``"penetrance"``.',
        "design": "The design, as :func:`shoal.pp.annotate` records it.",
    }
)
"""Decorator that puts these texts into a docstring, see :mod:`shoal._docs`."""
