"""Process of the operator: command line, watches, work queue, workers, probes, and supervision of its tasks."""
