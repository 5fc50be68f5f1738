"""Upload of a run during a fit, to any address that fsspec supports, such as s3://bucket/prefix."""
