"""HTML reports and comparisons in one file."""
