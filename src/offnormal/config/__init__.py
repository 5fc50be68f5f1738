"""Every verb's configuration: YAML keys, environment variables, and flags derive from the models here."""
