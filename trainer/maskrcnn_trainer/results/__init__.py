"""Results directories: their owner, their files, and the removal of older results."""
