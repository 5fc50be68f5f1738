"""How detectors are fitted."""
