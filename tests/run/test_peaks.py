"""Utilisation by hand, and by the names that jax has for devices."""

import pytest

from jaxdl.run.peaks import PEAKS, published_peak, unknown, utilisation


@pytest.mark.parametrize(
    ('kind', 'tera'),
    [
        ('NVIDIA A100-SXM4-40GB', 312),
        ('NVIDIA A100-SXM4-80GB', 312),
        ('NVIDIA A100 80GB PCIe', 312),
        ('NVIDIA H100 80GB HBM3', 989.5),
        ('NVIDIA H100 PCIe', 756.5),
        ('NVIDIA H200', 989.5),
        ('TPU v4', 275),
        ('TPU v5 lite', 197),
        ('TPU v5e', 197),
        ('TPU v5', 459),
        ('TPU v5p', 459),
        ('TPU v6 lite', 918),
        ('TPU v6e', 918),
        ('cpu', None),
        ('TPU v4 lite', None),
        ('NVIDIA H100 NVL', None),
        ('NVIDIA H200 NVL', None),
        ('NVIDIA GeForce RTX 3090', None),
    ],
)
def test_peaks_by_name(kind, tera):
    assert published_peak(kind) == (None if tera is None else pytest.approx(tera * 1e12))
    assert bool(unknown(kind)) == (tera is None) and (tera or kind in unknown(kind))


def test_every_peak_has_a_source():
    assert all(peak.source and 1e14 < peak.flops < 2e15 for peak in PEAKS)


def test_utilisation_by_hand():
    # PaLM, table 3: 46.2 % of 6,144 TPUs v4. 2,048 rows of 2,048 tokens take about 17.6 s, at
    # 6 N + 12 L H Q T FLOP a token (appendix B).
    each = 6 * 540.35e9 + 12 * 118 * 48 * 256 * 2048
    found = utilisation(each * 238.3e3, 1.0, 'TPU v4', devices=6144)
    assert found == pytest.approx(0.462, abs=0.002)
    assert utilisation(312e12, 2.0, 'NVIDIA A100-SXM4-40GB') == 0.5
    assert utilisation(1.0, 1.0, 'cpu') is None
