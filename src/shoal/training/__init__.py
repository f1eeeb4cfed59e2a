"""Training on populations: batches of whole sets of cells, from memory or from a file."""

from ._batch import SetBatch
from ._checkpoints import LAST, folder_for, goes_on
from ._conditions import Conditions, encoded_condition
from ._fit import FitResult, fit
from ._graph import GraphTerm
from ._sampler import SetSampler
from ._settings import FitSettings
from ._store import ResidentStore, Store
from ._streamed import StreamedStore

__all__ = [
    "LAST",
    "Conditions",
    "FitResult",
    "FitSettings",
    "GraphTerm",
    "ResidentStore",
    "SetBatch",
    "SetSampler",
    "Store",
    "StreamedStore",
    "encoded_condition",
    "fit",
    "folder_for",
    "goes_on",
]
