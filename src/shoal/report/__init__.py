"""The report: tables of results in, one HTML page that works offline out."""
