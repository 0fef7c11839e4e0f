"""Studies on a cluster that SLURM schedules."""
