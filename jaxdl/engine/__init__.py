"""The engine: a task compiled for all seeds and any devices, and the loop over its steps."""
