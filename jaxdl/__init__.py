"""jaxdl: deep learning studies in JAX. One file, one question, many seeds, an answer."""

__version__ = '0.1.0'
