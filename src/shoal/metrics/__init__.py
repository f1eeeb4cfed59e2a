"""Arrays in, numbers out: the statistics, without AnnData."""

from ._association import partial_association
from ._calibration import bds, ceiling, drf
from ._coherence import coherence
from ._combination import additive_residual, interaction_auprc
from ._de import (
    de_auprc,
    de_count_error,
    de_recall,
    de_roc_auc,
    de_spearman_sig,
    de_wrong,
)
from ._de_effects import de_direction, de_lfc_spearman, de_overlap
from ._delta import coherence_error, pearson_delta
from ._dependence import (
    correlation_similarity,
    library_spread,
    mean_squared_correlation,
    program_spread,
)
from ._discrimination import centroid_accuracy, discrimination_score, rank_score, retrieval_rank
from ._distance import edistance, energy_distance
from ._errors import cell_error, mae, mse, rmse
from ._first_labels import top_k_accuracy
from ._hits import hits_recall_budget, hits_recall_fdr
from ._image_distances import frechet_distance, kernel_distance
from ._marginals import variance_ratio, wasserstein_per_gene, zero_fraction_error
from ._mmd import median_bandwidth, mmd
from ._retrieval import average_precision, mean_average_precision, retrieval_precision
from ._shape import bimodality_error, correlation_error
from ._sizes import magnitude_error, magnitude_spearman
from ._skill import paired_difference, skill
from ._structure import collapse_index, mean_cosine, similarity_structure
from ._transport import sinkhorn, sliced_wasserstein
from ._weighted import gene_weights, weighted_mse, weighted_r2, welch_t

__all__ = [
    "additive_residual",
    "average_precision",
    "bds",
    "bimodality_error",
    "ceiling",
    "cell_error",
    "centroid_accuracy",
    "coherence",
    "coherence_error",
    "collapse_index",
    "correlation_error",
    "correlation_similarity",
    "de_auprc",
    "de_count_error",
    "de_direction",
    "de_lfc_spearman",
    "de_overlap",
    "de_recall",
    "de_roc_auc",
    "de_spearman_sig",
    "de_wrong",
    "discrimination_score",
    "drf",
    "edistance",
    "energy_distance",
    "frechet_distance",
    "gene_weights",
    "hits_recall_budget",
    "hits_recall_fdr",
    "interaction_auprc",
    "kernel_distance",
    "library_spread",
    "mae",
    "magnitude_error",
    "magnitude_spearman",
    "mean_average_precision",
    "mean_cosine",
    "mean_squared_correlation",
    "median_bandwidth",
    "mmd",
    "mse",
    "paired_difference",
    "partial_association",
    "pearson_delta",
    "program_spread",
    "rank_score",
    "retrieval_precision",
    "retrieval_rank",
    "rmse",
    "similarity_structure",
    "sinkhorn",
    "skill",
    "sliced_wasserstein",
    "top_k_accuracy",
    "variance_ratio",
    "wasserstein_per_gene",
    "weighted_mse",
    "weighted_r2",
    "welch_t",
    "zero_fraction_error",
]
