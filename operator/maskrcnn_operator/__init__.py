"""Kubernetes operator that runs MaskRCNNExperiments, on a cluster or on one machine."""
