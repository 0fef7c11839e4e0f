"""How users get their programs, and how tests do.

What is not optimised compiles twice as fast, and twice again where XLA emits fusions the older way,
which jax 0.12 has not.
"""

from importlib.metadata import version

OLDER = tuple(map(int, version('jax').split('.')[:2])) < (0, 11)

AS_USERS = {
    'xla_backend_optimization_level': 3,
    **({'xla_cpu_use_fusion_emitters': True} if OLDER else {}),
}
QUICK = '--xla_backend_optimization_level=0' + (
    ' --xla_cpu_use_fusion_emitters=false' if OLDER else ''
)
