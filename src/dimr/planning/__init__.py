"""What a target costs, before it is computed."""
