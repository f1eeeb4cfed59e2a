"""What the docstrings of the metrics say about arguments that many of them have."""

from __future__ import annotations

from .._docs import shared

documented = shared(
    {
        "predicted_means": "(P, G) means of the predicted cells, one row per condition.",
        "real_means": "(P, G) means of the real cells of the same conditions.",
        "mask": "(P, G) booleans: the genes that count. All by default.",
        "group": (
            "(P,) context of each condition, as numbers or names. Only conditions of the same\n"
            "context are compared with each other. By default all are of one context."
        ),
        "predicted_cells": "(n, d) predicted cells.",
        "real_cells": "(m, d) real cells.",
        "cells_of_one": "(n, d) cells of one population.",
        "cells_of_other": "(m, d) cells of the other population.",
        "genes_predicted": "(n, n_genes) predicted cells; dense, or sparse of scipy.",
        "genes_real": "(m, n_genes) real cells; dense, or sparse of scipy.",
        "owner": "(P,) perturbation of each condition. By default each condition is its own.",
        "n_boot": "Number of bootstrap samples.",
        "level": "Level of the interval, such as 0.95.",
        "real_fdr": "(P, G) false discovery rates of the genes in the real cells.",
        "predicted_fdr": "(P, G) false discovery rates of the genes in the predicted cells.",
        "de_mask": (
            "(P, G) booleans: the genes that count. All by default; leave out the target of the\n"
            "perturbation."
        ),
        "profiles": (
            "profiles\n"
            "    (n, d) profiles, such as wells or cells: relative to their controls, or a\n"
            "    representation.\n"
            "label\n"
            "    (n,) perturbation of each profile, as numbers or names.\n"
            "apart\n"
            "    (n,) unit of each profile, such as its well or its plate. Profiles of one unit\n"
            "    are no replicates of each other. By default every profile is a unit of its own.\n"
            "within\n"
            "    (n,) group of each profile, such as its plate. Profiles of other labels are\n"
            "    candidates only where they are of the group of the query. By default all are.\n"
            "negative\n"
            "    (n,) booleans: profiles that can stand against a query, such as control wells.\n"
            "    By default all profiles of other labels do."
        ),
        "alpha": "Level of significance: a gene responds if its FDR is below it.",
    }
)
