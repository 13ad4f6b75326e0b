"""Publishing of a step's results directory to object storage while the task runs, and its restoring."""
