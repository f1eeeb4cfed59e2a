"""AnnData plumbing: the screen, the matrix policy, grouped sums and results. No statistics, no torch."""
