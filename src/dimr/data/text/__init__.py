"""Captions of images: where they are kept, frozen encoders, and the encoders' output."""
