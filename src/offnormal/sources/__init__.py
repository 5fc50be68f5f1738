"""Sources of images and frames: files, folders, streams, and cameras."""
