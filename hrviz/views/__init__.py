"""Results to pictures: `layers` reduces every result to a few primitives, front ends draw those.

One module a front end (`mpl`, `plotly`, `napari`, `deepzoom`); each imports its library only when
it is itself imported. Front ends know result types, never methods.
"""

from hrviz.views.layers import Dots, Grid, Layer, Lines, Raster, Rectangles, layers

__all__ = ["Dots", "Grid", "Layer", "Lines", "Raster", "Rectangles", "layers"]
