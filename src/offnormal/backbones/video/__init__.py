"""Networks of clips behind one contract: encoders with stages, embedders with one vector a clip."""
