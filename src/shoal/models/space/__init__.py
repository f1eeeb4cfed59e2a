"""Spaces in which networks work: the way from the values of cells to what a network sees, and back.

``_space.py`` holds the Protocol that every space follows, and the two functions that choose one.
Each space has a file of its own:

- ``_identity.py``: cells as they are, such as images;
- ``_features.py``: features, centred and in one unit;
- ``_pca.py``: principal components;
- ``_autoencoder.py``: latent dimensions of an autoencoder, whose network is in
  ``_autoencoder_module.py``.
"""
