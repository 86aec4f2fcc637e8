r"""The deep-zoom viewer: tiles, ASGI routes, one JavaScript viewer for Streamlit and Jupyter.

`tiles` and `routes` know neither front end; `streamlit` and `jupyter` are thin adapters around the
same ES module (`assets.viewer_js`). Importing this package imports none of them.

Notes
-----
Front ends send the viewer one JSON object. All coordinates are level-0 pixels; x and y are named,
flat lists of points run x0, y0, x1, y1, ...

====================  =============================================================================
image                 `routes.register_image(image)`
theme                 'dark' or 'light'
height                CSS pixels, or None to fill the parent
viewport              {x, y, w, h}: the viewer flies there when `viewport_version` changes
overlays              list of {id, kind, visible, opacity, label, ...}, the first lowest
output                {png or url, width, height, grid: {ny, nx, nodes} or None, box, title} or None
draw                  None, 'box' or 'stroke'
drawings              {boxes: [{x, y, w, h}], strokes: [[[x, y], ...]]}
disclaimer            a short sentence for the status line
====================  =============================================================================

Overlay kinds and what they need besides the common keys:

====================  =============================================================================
raster                png (data URL of `maps.encode_png(maps.to_index(...))`), box, vmin, vmax; or
                      map (`routes.register_map(...)`). Then lut ('viridis', 'magma', 'cividis',
                      'diverging', 'labels'), range ([lo, hi] shown, default the encoding's),
                      threshold, unit, smooth; for labels: classes, background (default 0, clear)
grid                  ny, nx, nodes; color, width
boxes                 boxes [[x, y, w, h]]; colors (CSS colour or index into classes), labels,
                      scores, dash; classes [{name, color, dash, fill, hatch, width}] also give the
                      legend; hatch is one of / \ x . -
points                points; values (with lut, vmin, vmax, unit) or point_classes; radius, color
lines                 polylines (flat or pairs); colors, widths, color, width, dash, closed
tiles                 rects [[x, y, w, h, level]]
====================  =============================================================================

What comes back: `viewport` {x, y, w, h} after the view came to rest, `drawings`, `click` {x, y}.
"""
