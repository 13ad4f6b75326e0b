"""Data set: records and annotations, their checks, and the input pipeline of training and evaluation."""
