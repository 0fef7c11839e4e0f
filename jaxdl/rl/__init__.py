"""Reinforcement learning: environments, replay and actors as pure functions."""
