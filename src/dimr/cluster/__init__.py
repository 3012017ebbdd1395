"""From a recipe's resources to jobs: site, SLURM, launcher, doctor."""
