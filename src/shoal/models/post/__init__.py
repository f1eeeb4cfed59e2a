"""What is done to predicted values last: arrays in, arrays out.

Each function takes (n, d) predicted values and an (n,) code of the population of each cell. It
changes the values in place, one population and one feature at a time.

- ``_nonnegative.py``: no value is below 0, and every mean is kept;
- ``_zero_fraction.py``: a feature is off in as many cells as its mean lets expect;
- ``_mean_shrinkage.py``: a share of the change of every mean is taken back.
"""
