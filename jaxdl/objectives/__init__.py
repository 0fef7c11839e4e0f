"""Objectives: functions from networks and optimizers to tasks, one kind a file."""
