"""`road-detector-fovea`: the road detector, trained further on pictures that FOVEA warped."""

from hrviz.training.road_warped import train_fovea as train

__all__ = ["train"]
