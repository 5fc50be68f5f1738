"""The blocks of a page: each a function that returns its block, or None where it does not apply."""
