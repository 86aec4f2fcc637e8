"""What methods yield: frozen dataclasses that check themselves and speak level-0 pixels.

Points are (y, x), boxes half-open (y0, x0, y1, x1), both in level-0 pixels of the image, whatever
region the method ran on. Views draw these types; front ends know no method. Every result has
`summary()` (numbers for tables and tests) and `save`/`load` (JSON + one npz).
"""

from hrviz.results.base import TYPES, Result, Tag, json_text, write_whole
from hrviz.results.bilinear import interpolation
from hrviz.results.grid import WarpGrid
from hrviz.results.numbers import Cost, Curve, Prediction, Quantity, ReadMap, Step
from hrviz.results.pictures import AttentionMap, HeatMap, LabelMap, Picture
from hrviz.results.shapes import Boxes, Compressed, Graph, Partition, Points, TokenPattern
from hrviz.results.trees import DECISIONS, Node, ZoomTree

__all__ = [
    "DECISIONS", "TYPES", "AttentionMap", "Boxes", "Compressed", "Cost", "Curve", "Graph", "HeatMap",
    "LabelMap", "Node", "Partition", "Picture", "Points", "Prediction", "Quantity", "ReadMap",
    "Result", "Step", "Tag", "TokenPattern", "WarpGrid", "ZoomTree", "interpolation", "json_text",
    "write_whole",
]  # fmt: skip
