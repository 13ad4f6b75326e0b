"""Trainer of Mask R-CNN models: conversion, training, evaluation, pruning, inference, export."""
