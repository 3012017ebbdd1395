"""Run names and params.yaml to frozen configurations; imports no torch."""
