"""Decisions of the operator, from an experiment and its observed runs to a plan, without I/O."""
