"""ILSVRC2012's training images: taken in from any of their published forms, read, and cropped.

Reading needs numpy and Pillow alone; what takes the images in is in ``acquire``.
"""

from dimr.data.imagenet.crop import center_crop, crop_pixels
from dimr.data.imagenet.store import ImageStore, verify

__all__ = ["ImageStore", "center_crop", "crop_pixels", "verify"]
