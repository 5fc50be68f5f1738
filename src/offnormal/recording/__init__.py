"""Recording of events: clips, snapshots, and heat maps on disk, and their retention."""
