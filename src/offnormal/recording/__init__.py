"""What is kept of events: clips, snapshots, and heat maps on disk, for as long as they are wanted."""
