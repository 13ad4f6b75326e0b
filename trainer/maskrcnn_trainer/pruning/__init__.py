"""Pruning of trained models."""
