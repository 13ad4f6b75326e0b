"""Report of an experiment or a step: one self-contained HTML page, and report.json with every number on it."""
