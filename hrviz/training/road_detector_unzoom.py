"""`road-detector-unzoom`: the road detector, trained further through LZU's un-zooming."""

from hrviz.training.road_warped import train_unzoom as train

__all__ = ["train"]
