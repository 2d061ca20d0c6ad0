"""One file after another on the output's timeline."""
