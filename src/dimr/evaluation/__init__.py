"""Feature extractors, fidelity metrics and memorisation."""
