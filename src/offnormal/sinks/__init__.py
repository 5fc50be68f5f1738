"""Deliver events to people and programs; no torch in this package."""
