"""The run of an arm on the host: its folder, its record, and everything that may happen."""
