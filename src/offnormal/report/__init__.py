"""Pictures, plots and the one-file report."""
