"""AlexNet, VGG and Inception in other implementations."""

from collections.abc import Mapping

from jaxdl.interop.reference import Reference

REFERENCES: Mapping[tuple[str, str], Reference] = {}
