"""Runs on TPU pods of Google Cloud, without Kubernetes."""
