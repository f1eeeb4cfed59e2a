"""Networks on tensors: embeddings of time and condition, and networks that these steer."""

from ._blocks import ResidualMLP
from ._condition import POOLS, AttentionPool, ConditionEncoder, MeanPool, SumPool
from ._covariates import CovariateEncoder, StepEmbedding
from ._linear_condition import COINS, LinearCondition
from ._map import ConcatenatedNet
from ._set_blocks import SetTransformer
from ._set_transformer import FUSIONS, CrossBlock, CrossTransformer, n_parameters
from ._time import TimeEmbedding, waves
from ._unet import ImageTime, ImageVelocity, UNet
from ._velocity import VelocityNet

__all__ = [
    "COINS",
    "FUSIONS",
    "POOLS",
    "AttentionPool",
    "ConcatenatedNet",
    "ConditionEncoder",
    "CovariateEncoder",
    "CrossBlock",
    "CrossTransformer",
    "ImageTime",
    "ImageVelocity",
    "LinearCondition",
    "MeanPool",
    "ResidualMLP",
    "SetTransformer",
    "StepEmbedding",
    "SumPool",
    "TimeEmbedding",
    "UNet",
    "VelocityNet",
    "n_parameters",
    "waves",
]
