"""Loading of a task's inputs from object storage into a cache, before the task starts."""
