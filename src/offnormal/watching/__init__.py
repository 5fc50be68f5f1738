"""Watch cameras: from frames to events and alerts, in one process that runs for months."""
