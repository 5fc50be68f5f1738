"""Cameras from their frames to events that people are told of, in one process and for months."""
