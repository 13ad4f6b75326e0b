"""Results of experiments in object storage: list, load, link, clean, and delete them with the caller's credentials."""
