"""``maskrcnn launch``: one pod's share of a task, started without mpirun or ssh.

It claims the results directory for this attempt, ends at once where the results are already there, hosts or joins
Horovod's rendezvous, starts one process per GPU, and turns what became of them into one exit code.
"""

from maskrcnn_trainer.launch.command import LaunchSettings, launch

__all__ = ["LaunchSettings", "launch"]
