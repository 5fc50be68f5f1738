"""Methods that learn normality, one file each, and the parts they are made of."""
