"""Infrastructure of all tasks: arguments, environment, reports, files, failures, runtime settings."""
