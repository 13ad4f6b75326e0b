"""``maskrcnn launch``: start one pod's processes of a task, without mpirun or ssh.

It claims the results directory for this attempt, ends at once if the results already exist, hosts or joins Horovod's
rendezvous, starts one process per GPU, and derives one exit code from those of the processes.
"""

from maskrcnn_trainer.launch.command import launch
from maskrcnn_trainer.launch.settings import LaunchSettings

__all__ = ["LaunchSettings", "launch"]
