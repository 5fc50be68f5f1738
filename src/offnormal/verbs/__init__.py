"""What a user asks for, one file each: they only wire the rooms below."""
