"""What is known after items were scored: one table, metrics by unit, comparison of stored results. Pure numpy."""
