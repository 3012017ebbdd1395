"""The pipeline: one file per stage, and the protocol that they share."""
