"""Drawing of heat maps, plots, and text for reports, recordings, and terminals."""
