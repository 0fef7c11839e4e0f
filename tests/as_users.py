"""How users get their programs: the tests compile without optimisation, and an older way."""

AS_USERS = {'xla_backend_optimization_level': 3, 'xla_cpu_use_fusion_emitters': True}
