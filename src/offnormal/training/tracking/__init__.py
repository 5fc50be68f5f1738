"""Experiment tracking: each tracker follows the run's log, and its failures never disturb the fit."""
