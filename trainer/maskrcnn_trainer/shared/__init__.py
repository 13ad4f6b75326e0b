"""Modules for operator and trainer: records, files, signals, streams, YAML, names of the resource.

They only import the standard library, yaml, pydantic and :mod:`maskrcnn_trainer.errors`.
"""
