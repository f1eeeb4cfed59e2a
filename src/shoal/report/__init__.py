"""The report: one HTML page, which works offline, from tables of results."""
