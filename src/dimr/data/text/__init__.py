"""Captions of images: where they are kept, frozen encoders, and what these make of them."""
