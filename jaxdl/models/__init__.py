"""Networks: one family a file, pure Linen modules with nothing of jaxdl but other models."""
