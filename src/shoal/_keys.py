"""Names of the slots that shoal reads and writes, in one place."""

SCREEN = "shoal"  # uns: the design of the experiment, written by pp.annotate
COHERENCE = "coherence"  # obs and uns: written by tl.coherence
DISTANCE = "distance"  # uns: written by tl.distance
ASSOCIATION = "association"  # uns: written by tl.associate
EVALUATION = "evaluation"  # uns: written by tl.evaluate
IMAGE_EVALUATION = "image_evaluation"  # uns: written by tl.evaluate_images
LEADERBOARD = "leaderboard"  # uns: written by tl.benchmark
SPLIT = "split"  # obs: train / val / test
EMBEDDINGS = "perturbation_embeddings"  # uns: name -> table of vectors, written by pp.embed
EMBEDDINGS_INFO = "perturbation_embeddings_info"  # uns: what each of them was made from
PREDICTIONS = (
    "perturbation_predictions"  # uns: which model made each prediction, written by tl.predict
)
PCA = "X_pca"  # obsm: scanpy's own key
IMAGES = "images"  # uns: slot of crops -> channels and scale, written by pp.prepare_images
DEPTH = "total_counts"  # obs: scanpy's own name for counts per cell
