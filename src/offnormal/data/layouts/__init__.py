"""Forms of datasets on disk, one file each."""
