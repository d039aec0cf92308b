"""Pictures to work on: sample photos, CIFAR-10, and the drawn world Patterns10."""

from dinov2_edu.data.cifar import CIFAR10_CLASSES, cifar10_or_patterns, load_cifar10
from dinov2_edu.data.imageset import DataUnavailable, ImageSet
from dinov2_edu.data.patterns import PATTERN_CLASSES, patterns10
from dinov2_edu.data.pictures import SAMPLE_IMAGES, SampleImage, sample_image
from dinov2_edu.data.remote import cache_dir, offline

__all__ = [
    "CIFAR10_CLASSES",
    "PATTERN_CLASSES",
    "SAMPLE_IMAGES",
    "DataUnavailable",
    "ImageSet",
    "SampleImage",
    "cache_dir",
    "cifar10_or_patterns",
    "load_cifar10",
    "offline",
    "patterns10",
    "sample_image",
]
