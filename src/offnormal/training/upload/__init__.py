"""Keeping a run in another place while it is fitted: any address that fsspec knows, such as s3://bucket/prefix."""
