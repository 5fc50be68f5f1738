"""What evaluations left in their folders, read again and brought together; numpy only."""
