"""Pictures of moments of recordings: found here, made by the clipper (ADR 33)."""
