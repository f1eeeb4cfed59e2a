"""Texts that the docstrings of several plots share."""

from .._docs import shared

fill = shared(
    {
        "ax": "Axes to draw into. ``None`` makes a new figure.",
        "figure": (
            "Of the picture as a whole:\n\n"
            "- `figsize`, width and height of a new figure in inches, not a size that fits.\n"
            "- `title`, a heading above it.\n"
            "- `show`, whether to open it now. ``None`` leaves that to matplotlib.\n"
            '- `save`, a file to write it to, such as ``"plot.pdf"``, in the format of its ending.'
        ),
        "perturbations": (
            "Name of the perturbation. With several names, each gets a panel of its own."
        ),
        "context": (
            "Context whose cells are shown, controls included.\n"
            "``None`` shows all contexts in which the perturbation was predicted, together, and "
            "no control cell of another."
        ),
        "components": (
            "Two components to draw, counted from 1, such as ``(1, 2)``.\n"
            "``None`` draws the plane that is described above."
        ),
        # of pictures of an evaluation
        "evaluated": "Screen with the result of :func:`shoal.tl.evaluate`.",
        "evaluation_key": 'Key of ``uns`` with the evaluation. ``None``: ``"evaluation"``.',
        "metric": "Name of the metric. It must have one value for each condition.",
        "evaluated_example": """\
>>> import shoal as sh
>>> adata = sh.ds.simulate(n_perturbations=8, n_cells=60, n_genes=100, rng=0)
>>> sh.pp.annotate(adata, "perturbation", control="control")
>>> sh.pp.split(adata, by="perturbation", test=0.5, rng=0)
>>> sh.pp.prepare(adata, normalize="log1p", fit_on="train", n_comps=10)
>>> model = sh.tl.fit(adata, "mean_shift")
>>> sh.tl.predict(adata, model, key_added="mean_shift", subset="test")
>>> sh.tl.evaluate(
...     adata, prediction="mean_shift", metrics=["energy", "pds_l2"], baselines=["perturbed_mean"]
... )""",
        # of pictures of coherence
        "coherent": "Screen with the result of :func:`shoal.tl.coherence`.",
        "coherence_key": 'Key of ``uns`` with the result. ``None``: ``"coherence"``.',
        "alpha": (
            "A perturbation is significant if its q-value is below this level. It is\n"
            "``qvalue_replicate`` where replicates were tested, else ``qvalue``."
        ),
        "coherence_example": """\
>>> import shoal as sh
>>> adata = sh.ds.simulate(n_perturbations=4, rng=0)
>>> sh.pp.prepare(adata, "perturbation", control="control", normalize="log1p")
>>> sh.tl.coherence(adata, "perturbation", control="control")""",
        # of pictures of predicted cells
        "annotated": "Annotated screen, see :func:`shoal.pp.annotate`.",
        "predicted_example": """\
>>> import shoal as sh
>>> adata = sh.ds.simulate(n_perturbations=8, n_cells=60, n_genes=100, rng=0)
>>> sh.pp.annotate(adata, "perturbation", control="control")
>>> sh.pp.prepare(adata, normalize="log1p", n_comps=10)
>>> model = sh.tl.fit(adata, "mean_shift")""",
    }
)
"""Decorator that puts these texts into a docstring, see :mod:`shoal._docs`."""
