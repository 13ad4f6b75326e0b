"""Reading of results directories for a report. Their content may be damaged or hostile, so every value is checked."""
