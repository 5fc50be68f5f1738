"""Methods that learn normality, a folder each, and the parts that they share."""
