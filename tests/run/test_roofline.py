"""The bound of a step by hand, and the names of topologies."""

import pytest

from jaxdl.errors import UsageError
from jaxdl.run.chips import CHIPS, SHAPES, read_topology
from jaxdl.run.roofline import predict


def chip(name):
    return next(each for each in CHIPS if each.name == name)


def test_the_longest_of_three():
    found = predict(chip('v5e'), flops=197e12, traffic=819e9 / 4, sent=200e9 / 2)
    assert found == pytest.approx((1.0, 0.25, 0.5))
    assert (found.step, found.bound, found.efficiency) == (1.0, 'compute', 1.0)
    found = predict(chip('h100'), flops=989.5e12, traffic=3350e9, sent=4 * 450e9)
    assert (found.step, found.bound, found.efficiency) == (4.0, 'links', 0.25)
    assert predict(chip('h100'), flops=0, traffic=0, sent=0).efficiency == 0


@pytest.mark.parametrize(
    'text,name,devices',
    [
        ('v5e:16x16', 'v5e', 256),
        ('v5e:1x1', 'v5e', 1),
        ('v4:2x2x1', 'v4', 4),
        ('v5p:8x8x8', 'v5p', 512),
        ('tpu7x:2x2x1', 'tpu7x', 8),
        ('h100x8', 'h100', 8),
        ('a100-40gbx4', 'a100-40gb', 4),
    ],
)
def test_topologies(text, name, devices):
    found = read_topology(text)
    assert (found.chip.name, found.devices, found.name) == (name, devices, text)


@pytest.mark.parametrize(
    'text,says',
    [
        ('v5e:3x3', "v5e is not made in that shape; did you mean '2x2'|v5e is not made"),
        ('v5:16x16', "unknown 'v5:16x16'; did you mean 'v5e:16x16'"),
        ('h10x8', "unknown 'h10x8'; did you mean 'h100x8'"),
        ('h100x0', "unknown 'h100x0'; did you mean 'h100x8'"),
        ('h100', "unknown 'h100'; did you mean 'h100x8'"),
    ],
)
def test_unknown_topologies(text, says):
    with pytest.raises(UsageError, match=says):
        read_topology(text)


def test_a_chip_of_two_devices_is_halved():
    whole = chip('tpu7x')
    each = read_topology('tpu7x:2x2x1').each
    assert (each.flops, each.memory) == (whole.flops / 2, whole.memory / 2)


def test_every_chip_is_whole():
    assert len({each.name for each in CHIPS}) == len(CHIPS)
    assert all(name in SHAPES for name in (each.name for each in CHIPS if each.tpu))
    for each in CHIPS:
        assert each.source and 1e10 < each.memory < 1e12
        assert 5e11 < each.bandwidth < 1e13 and each.links < each.bandwidth
