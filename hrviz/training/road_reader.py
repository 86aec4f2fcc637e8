"""Trains the reader behind the road's spatial transformer, together with its localiser (`road-reader`)."""

from hrviz.training.road_localiser import train

__all__ = ["train"]
