"""Model files: format, encryption, and the search for the newest checkpoint."""
