"""Local runs of experiments, without a cluster."""
