"""Metrics: numbers that add over steps, batches and devices; one kind a file."""

from jaxdl.metrics.base import (
    About,
    Better,
    Mean,
    Metric,
    Number,
    add,
    check_metrics,
    classes_of,
    describe,
    finish,
    flatten,
    joined,
    known_mean,
    read_classes,
    total,
    widened,
)

__all__ = [
    'About',
    'Better',
    'Mean',
    'Metric',
    'Number',
    'add',
    'check_metrics',
    'classes_of',
    'describe',
    'finish',
    'flatten',
    'joined',
    'known_mean',
    'read_classes',
    'total',
    'widened',
]
