"""AnnData plumbing: the screen, the matrix policy, grouped sums, results. No statistics."""
