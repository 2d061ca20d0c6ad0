"""Code shared by cutting clips and playing out files: the grid of a track, joining encoders, silence."""
