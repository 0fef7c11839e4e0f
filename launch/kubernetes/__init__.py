"""Runs on Kubernetes, as JobSets."""
