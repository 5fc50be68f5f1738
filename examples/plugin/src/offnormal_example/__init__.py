"""An example of a plug-in: one detector, one layout, one sink."""
