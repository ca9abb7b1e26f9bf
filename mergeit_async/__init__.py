"""Merge large instruction-tuning datasets into small, rich ones (MergeIT, arXiv 2503.00034)."""

__version__ = "0.1.0"
