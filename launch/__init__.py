"""Starting `jaxdl run` where more than one machine or process takes part.

Engines that are there do the work (processes of the system, SLURM, Kubernetes JobSet, TPU queued
resources); what is here asks them, and says what a process's exit code means to them.
"""
