"""Networks on tensors: embeddings of time and condition, and a residual network that both steer."""

from ._blocks import ResidualMLP
from ._condition import POOLS, AttentionPool, ConditionEncoder, MeanPool
from ._time import TimeEmbedding, waves

__all__ = ["POOLS", "AttentionPool", "ConditionEncoder", "MeanPool", "ResidualMLP", "TimeEmbedding", "waves"]
