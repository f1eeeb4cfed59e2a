"""Networks on tensors: embeddings of time and condition, and networks that these steer."""

from ._blocks import ResidualMLP
from ._bridge import NORMS, BridgeNet, CellNorm, mlp
from ._bridge_condition import GenewiseEncoder, PlaceEncoder, TreatmentEncoder
from ._condition import POOLS, AttentionPool, ConditionEncoder, MeanPool, SumPool
from ._covariates import CovariateEncoder, StepEmbedding
from ._graph import GraphAttention, GraphEncoder, knocked_out, with_loops
from ._map import ConcatenatedNet
from ._set_blocks import SetTransformer
from ._set_transformer import FUSIONS, CrossBlock, CrossTransformer, n_parameters
from ._time import TimeEmbedding, waves
from ._velocity import VelocityNet

__all__ = [
    "FUSIONS",
    "NORMS",
    "POOLS",
    "AttentionPool",
    "BridgeNet",
    "CellNorm",
    "ConcatenatedNet",
    "ConditionEncoder",
    "CovariateEncoder",
    "CrossBlock",
    "CrossTransformer",
    "GenewiseEncoder",
    "GraphAttention",
    "GraphEncoder",
    "MeanPool",
    "PlaceEncoder",
    "ResidualMLP",
    "SetTransformer",
    "StepEmbedding",
    "SumPool",
    "TimeEmbedding",
    "TreatmentEncoder",
    "VelocityNet",
    "knocked_out",
    "mlp",
    "n_parameters",
    "waves",
    "with_loops",
]
