"""ILSVRC2012's training images, or any labelled set: taken in, stored, read, and cropped.

Reading needs only numpy and Pillow; ``acquire`` takes the images in.
"""

from dimr.data.imagenet.crop import center_crop
from dimr.data.imagenet.store import ImageStore, verify

__all__ = ["ImageStore", "center_crop", "verify"]
