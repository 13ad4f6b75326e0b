"""Protocol by which attempts write their results to object storage: pure decisions, without I/O, clock, or random."""
