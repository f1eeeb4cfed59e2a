"""Names of the slots that shoal reads and writes, in one place."""

SCREEN = "shoal"  # uns: the design of the experiment, written by pp.annotate
COHERENCE = "coherence"  # obs and uns: written by tl.coherence
DISTANCE = "distance"  # uns: written by tl.distance
RETRIEVAL = "retrieval"  # uns: written by tl.retrieve
PROPOSAL = "proposal"  # uns: written by tl.propose
ASSOCIATION = "association"  # uns: written by tl.associate
EVALUATION = "evaluation"  # uns: written by tl.evaluate
IMAGE_EVALUATION = "image_evaluation"  # uns: written by tl.evaluate_images
INTERVAL_EVALUATION = "interval_evaluation"  # uns: written by tl.evaluate_intervals
LEADERBOARD = "leaderboard"  # uns: written by tl.benchmark
SPLIT = "split"  # obs: train / val / test
EMBEDDINGS = "perturbation_embeddings"  # uns: name -> table of vectors, written by pp.embed
EMBEDDINGS_INFO = "perturbation_embeddings_info"  # uns: what each of them was made from
EMBEDDING_CHECK = "embedding_check"  # uns: do vectors say what is alike, by pp.embed_check
CONTEXT_EMBEDDINGS = (
    "context_embeddings"  # uns: name -> table of vectors, written by pp.embed_contexts
)
CONTEXT_EMBEDDINGS_INFO = "context_embeddings_info"  # uns: what each of them was made from
CONTEXT_EMBEDDING_FITS = "context_embedding_fits"  # uns: how vectors of later contexts are made
GRAPHS = "perturbation_graphs"  # uns: name -> table of edges, written by pp.link
GRAPHS_INFO = "perturbation_graphs_info"  # uns: what each of them was made from
PREDICTIONS = (
    "perturbation_predictions"  # uns: which model made each prediction, written by tl.predict
)
PCA = "X_pca"  # obsm: scanpy's own key
IMAGES = "images"  # uns: slot of crops -> channels and scale, written by pp.prepare_images
DEPTH = "total_counts"  # obs: scanpy's own name for counts per cell
