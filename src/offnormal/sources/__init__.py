"""Where pictures come from: single files, globs and folders."""
