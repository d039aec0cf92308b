"""Pictures to work on: sample photos, CIFAR-10, and the drawn world Patterns10."""

from dinov2_edu.data.cifar import CIFAR10_CLASSES, cifar10_or_patterns, load_cifar10
from dinov2_edu.data.imageset import DataUnavailable, ImageSet
from dinov2_edu.data.own import OwnFolder, OwnPictures, look_over, read_own
from dinov2_edu.data.patterns import PATTERN_CLASSES, patterns10
from dinov2_edu.data.remote import cache_dir, offline
from dinov2_edu.data.sample_photos import (
    SAMPLE_IMAGES,
    SAMPLE_SQUARES,
    SampleImage,
    sample_image,
    sample_square,
)
from dinov2_edu.data.scenes import Scenes, drawn_scenes, mosaic_scenes
from dinov2_edu.data.stereo import StereoPair, shifted_pair, stereo_pair

__all__ = [
    "CIFAR10_CLASSES",
    "PATTERN_CLASSES",
    "SAMPLE_IMAGES",
    "SAMPLE_SQUARES",
    "DataUnavailable",
    "ImageSet",
    "OwnFolder",
    "OwnPictures",
    "SampleImage",
    "Scenes",
    "StereoPair",
    "cache_dir",
    "cifar10_or_patterns",
    "drawn_scenes",
    "load_cifar10",
    "look_over",
    "mosaic_scenes",
    "offline",
    "patterns10",
    "read_own",
    "sample_image",
    "sample_square",
    "shifted_pair",
    "stereo_pair",
]
