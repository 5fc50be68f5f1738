"""What is drawn: heat maps, plots, and text on images, for reports, recordings, and terminals."""
