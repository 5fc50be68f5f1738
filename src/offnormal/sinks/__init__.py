"""Where scores go so that people see them; no torch in here."""
