"""Formulations of layers that XLA:CPU runs faster; `jaxdl.nn.layers` chooses them."""
