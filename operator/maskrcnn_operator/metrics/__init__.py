"""Prometheus metrics of the operator and of experiments, and the server of ``/metrics``."""
