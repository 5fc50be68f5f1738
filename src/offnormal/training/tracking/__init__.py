"""Showing a run in experiment trackers: each follows the run's log, and may fail without disturbing anything."""
