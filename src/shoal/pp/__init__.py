"""Preprocessing: describe a screen, check its scale, filter, embed and split it."""

from ._annotate import annotate
from ._embed import embed
from ._embed_contexts import embed_contexts
from ._filter import filter
from ._link import link
from ._prepare import prepare
from ._split import split

__all__ = ["annotate", "embed", "embed_contexts", "filter", "link", "prepare", "split"]
