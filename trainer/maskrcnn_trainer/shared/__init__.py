"""Modules that operator and trainer both use: records, files, signals, streams, YAML, names of the resource.

They import the standard library, yaml, pydantic and :mod:`maskrcnn_trainer.errors`, nothing else of either package.
"""
