"""Checkpoints: states on disk that survive a kill and are verified before they are used."""
