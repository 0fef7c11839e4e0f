"""Data: tables of examples, and sources, which are deterministic streams of batches of them."""
