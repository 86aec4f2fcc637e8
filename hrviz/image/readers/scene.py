"""Procedural scenes as an image source: `scene:NAME?key=value` addresses (see `hrviz.scenes`)."""

from hrviz.scenes import open_scene

__all__ = ["open_scene"]
