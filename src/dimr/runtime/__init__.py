"""Files, errors, progress, devices, randomness: below everything else."""
