"""One training step, the loop around it, and state that survives being killed."""
