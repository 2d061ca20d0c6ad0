"""Clips whose pictures are edited: cut out, and something laid over them. All of them are encoded."""
