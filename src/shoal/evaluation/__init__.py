"""Evaluation of predictions, below `tl` and `benchmark`, which are thin callers of it.

The files, in the order in which an AnnData passes them in :func:`shoal.tl.evaluate`:

``_evaluate``
    Settings of one evaluation, and the sequence of what follows.
``_predictions``
    Finds the prediction: a layer, a slot of ``obsm``, another AnnData, or a file.
``_task``
    The `EvaluationTask`: all cells are chosen, then the matrix is read once.
    It uses ``_conditions`` (which conditions are scored, and their halves), ``_condition_means``
    (means over conditions), ``_axes`` (principal components) and ``_baselines`` (which baselines
    are fitted, and which cells they read).
``_checks``, ``_paths``
    Whether the predicted values can be right, and where predicted cells start.
``_controls``, ``_external_suites``
    Predictions that need no model, and what other packages' evaluations need.
``_baseline_predictions``
    Fits baselines on the cells of the task, and predicts with them.
``_scores``, ``_tables``
    Values, losses and skill of all predictions, and the tables that are written.

In :func:`shoal.tl.benchmark` and :func:`shoal.benchmark.run` it passes these:

``_models``
    Names and settings of the models, checked.
``_scorer``
    One task for all models, and their scores.
``_attempt``, ``_meter``
    Trains and predicts with one model, and what that costs.
``_rows``
    The result of a model.
``_compare``, ``_leaderboard``
    Scores over data sets and seeds, their intervals, and the ranking.
"""
