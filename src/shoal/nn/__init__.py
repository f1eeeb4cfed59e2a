"""Networks on tensors: embeddings of time and condition, and networks that these steer."""

from ._blocks import ResidualMLP
from ._bridge import NORMS, BridgeNet, CellNorm, mlp
from ._bridge_condition import GenewiseEncoder, StratumNet, TreatmentEncoder
from ._condition import POOLS, AttentionPool, ConditionEncoder, MeanPool, SumPool
from ._covariates import CovariateEncoder, StepEmbedding
from ._dose_gate import DoseGate
from ._graph import GraphAttention, GraphEncoder, knocked_out, with_loops
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
    "DoseGate",
    "GenewiseEncoder",
    "GraphAttention",
    "GraphEncoder",
    "ImageTime",
    "ImageVelocity",
    "LinearCondition",
    "MeanPool",
    "ResidualMLP",
    "SetTransformer",
    "StepEmbedding",
    "StratumNet",
    "SumPool",
    "TimeEmbedding",
    "TreatmentEncoder",
    "UNet",
    "VelocityNet",
    "knocked_out",
    "mlp",
    "n_parameters",
    "waves",
    "with_loops",
]
