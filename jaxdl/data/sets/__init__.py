"""Public datasets, one small loader a file; each names its source and licence."""
