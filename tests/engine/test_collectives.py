"""Collectives in the text of a program: their kinds, groups, bytes, and how often loops do them."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxdl.engine.collectives import Collective, collectives

TEXT = """
HloModule jit_step, is_scheduled=true, num_partitions=8

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %s = f32[] add(%x, %y)
}

%body.1 (arg: (s32[], f32[64,32])) -> (s32[], f32[64,32]) {
  %arg = (s32[], f32[64,32]{1,0}) parameter(0)
  %g = f32[64,32]{1,0:T(8,128)} all-gather(%w), channel_id=3, replica_groups=[2,4]<=[8], \
dimensions={0}, use_global_device_ids=true
  ROOT %t = (s32[], f32[64,32]{1,0}) tuple(%i, %g)
}

%cond.1 (arg: (s32[], f32[64,32])) -> pred[] {
  %arg = (s32[], f32[64,32]{1,0}) parameter(0)
  ROOT %lt = pred[] compare(%i, %n), direction=LT
}

%inner (p: bf16[16]) -> bf16[4] {
  ROOT %rs = bf16[4]{0} reduce-scatter(%p), replica_groups={{0,1,2,3},{4,5,6,7}}, to_apply=%add
}

%all-reduce-scatter.1 (p: f32[10]) -> f32[5] {
  %ar.2 = f32[10]{0} all-reduce(%p), channel_id=8, replica_groups=mesh['a'=4,'b'=2] {'b'}
  ROOT %ds = f32[5]{0} dynamic-slice(%ar.2, %m), dynamic_slice_sizes={5}
}

%body.2 (arg: (s32[])) -> (s32[]) {
  ROOT %aa.2 = s8[64]{0} all-to-all(%v), channel_id=9, replica_groups=mesh['a'=4] {'a':(1)2}
}

%cond.2 (arg: (s32[])) -> pred[] {
  %three = s32[]{:T(128)} constant(3)
  ROOT %lt.2 = pred[]{:T(512)} compare(%arg, %three), direction=LT, metadata={op_name="lt"}
}

ENTRY %main (a: f32[64,32], b: bf16[16]) -> f32[64,32] {
  %a = f32[64,32]{1,0} parameter(0), metadata={op_name="all-reduce(x)"}
  %ar = (f32[10,10]{1,0}, f32[]) all-reduce(%p, %q), replica_groups={}, to_apply=%add
  %loop = (s32[], f32[64,32]{1,0}) while(%tuple), condition=%cond.1, body=%body.1, \
backend_config={"known_trip_count":{"n":"12"}}
  %f = bf16[4]{0} fusion(%b), kind=kCustom, calls=%inner
  %ag = (f32[8]{0}, f32[16]{0}) all-gather-start(%f2), replica_groups=[4,2]<=[2,4]T(1,0)
  %done = f32[16]{0} all-gather-done(%ag)
  %cp = (s8[100]{0}, s8[100]{0}, u32[], u32[]) collective-permute-start(%z), \
source_target_pairs={{0,1},{1,0}}
  %aa = s32[40]{0} all-to-all(%v), replica_groups={{0,2},{1,3},{4,6},{5,7}}
  %one.start = bf16[30]{0} all-gather(%u), channel_id=7, replica_groups=mesh['a'=4,'b'=2] {'b'}
  %beside = bf16[30]{0} all-gather(%u), channel_id=7, replica_groups=mesh['a'=4,'b'=2] {'b'}
  %scattered = f32[5]{0} fusion(%b), kind=kCustom, calls=%all-reduce-scatter.1
  %second = (s32[]) while(%tuple), condition=%cond.2, body=%body.2
  %alone = f32[100]{0} all-reduce(%v), replica_groups=[8,1]<=[8], to_apply=%add
  ROOT %r = f32[64,32]{1,0} get-tuple-element(%loop), index=1
}
"""


def test_a_known_program():
    found = collectives(TEXT, 8)
    whole = 12 * 64 * 32 * 4
    assert set(found.collectives) == {
        Collective('all-gather', 4, 12, whole, whole * 3 / 4),
        Collective('all-reduce', 8, 1, 404, 2 * 404 * 7 / 8),
        Collective('reduce-scatter', 4, 1, 8, 24),
        Collective('all-gather', 2, 2, 64 + 60, 62),
        Collective('reduce-scatter', 2, 1, 20, 20),
        Collective('collective-permute', 8, 1, 100, 100),
        Collective('all-to-all', 2, 4, 160 + 3 * 64, 176),
    }
    assert found.collectives[0].kind == 'all-gather' and found.loops and not found.unknown
    assert found.sent == pytest.approx(whole * 3 / 4 + 707 + 24 + 62 + 20 + 100 + 176)


def test_a_loop_of_unknown_length_is_told():
    text = TEXT.replace('known_trip_count', 'something')
    found = collectives(text.replace('s32[]{:T(128)} constant(3)', 's32[] parameter(0)'), 8)
    assert found.unknown == 2
    assert Collective('all-gather', 4, 1, 8192, 6144) in found.collectives


def test_a_program_of_one_device_has_none():
    text = jax.jit(jnp.sin).lower(jnp.ones(3)).compile().as_text()
    assert collectives(text, 1) == ((), 0, False)


def test_what_a_compiler_writes():
    """A sum over rows that lie apart, in a scan of three."""
    mesh = jax.make_mesh((4,), ('data',), axis_types=(AxisType.Auto,), devices=jax.devices()[:4])
    rows = jax.ShapeDtypeStruct((8, 16), jnp.float32, sharding=NamedSharding(mesh, P('data')))

    def step(x):
        def once(total, _):
            return jnp.tanh(x + total[None]).sum(0), None

        return jax.lax.scan(once, jnp.zeros(16), length=3)[0]

    found = collectives(jax.jit(step).lower(rows).compile().as_text(), 4)
    assert found.collectives == (Collective('all-reduce', 4, 3, 3 * 64, 3 * 64 * 2 * 3 / 4),)
    assert found.loops and not found.unknown
