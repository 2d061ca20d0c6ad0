"""What cutting clips and playing files out have in common: the grid of a track, joining encoders, silence."""
