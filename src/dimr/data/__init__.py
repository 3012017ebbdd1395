"""Datasets, the autoencoder, and latents in memory-mapped shards."""
