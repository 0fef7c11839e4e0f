"""Studies: one file, one question."""
