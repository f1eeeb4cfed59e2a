"""Networks on tensors: embeddings of time and condition, and a residual network that both steer."""

from ._blocks import ResidualMLP
from ._condition import POOLS, AttentionPool, ConditionEncoder, MeanPool, SumPool
from ._time import TimeEmbedding, waves
from ._velocity import VelocityNet

__all__ = [
    "POOLS",
    "AttentionPool",
    "ConditionEncoder",
    "MeanPool",
    "ResidualMLP",
    "SumPool",
    "TimeEmbedding",
    "VelocityNet",
    "waves",
]
