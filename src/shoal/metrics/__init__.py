"""Arrays in, numbers out: the statistics, without AnnData."""
