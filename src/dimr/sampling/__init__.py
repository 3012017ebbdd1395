"""Many images: their order, their noise, and how they are written."""
