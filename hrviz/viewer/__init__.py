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
output                one view, or {views: [view, ...], shown: [ids]}, or None
draw                  None, 'box' or 'stroke'
shift, live           what dragging draws with the shift key; whether boxes under way are told
drawings              {boxes: [{x, y, w, h}], strokes: [[[x, y], ...]]}
drawings_version      if given, drawings are taken over only when it changes
disclaimer            a short sentence for the status line
====================  =============================================================================

A view of the output pane is {id, title, short, png or url, width, height, box, grid: {ny, nx, nodes,
region} or None}, with `boxes` [[x, y, w, h]] in its own pixels; with `map` {lut, vmin, vmax, label,
unit} the picture holds indices; `even` names the view from which it can be animated. A view of kind
'tree' has `tree` instead of a picture, a tree overlay: it is shown as an icicle.

Overlay kinds and what they need besides the common keys:

====================  =============================================================================
raster                png (data URL of `maps.encode_png(maps.to_index(...))`), box, vmin, vmax; or
                      map (`routes.register_map(...)`). Then lut ('viridis', 'magma', 'cividis',
                      'diverging', 'labels'), range ([lo, hi] shown, default the encoding's),
                      threshold, unit, smooth; for labels: classes, background (default 0, clear)
grid                  ny, nx, nodes; color, width; region: where it lies when even, for animation
boxes                 boxes [[x, y, w, h]]; colors (CSS colour or index into classes), labels,
                      scores, dash; classes [{name, color, dash, fill, hatch, width}] also give the
                      legend; hatch is one of / \ x . -
points                points; values (with lut, vmin, vmax, unit) or point_classes; radius, color
lines                 polylines (flat or pairs); colors, widths, color, width, dash, closed
tiles                 rects [[x, y, w, h, level]]
tree                  view (id of the view that holds the tree), or itself: boxes and, one a node in the
                      order decided, colors (into classes), parents (index or -1), cells [left, right,
                      depth] of the icicle in leaves, labels, draws, scores (with score_label), why
                      (into reasons), downsamples, pixels, calls; exhaustive (pixels), source
====================  =============================================================================

A raster with `mesh` (a grid with its region) is drawn by it while the grid moves; what is `whole` is
hidden then. What comes back: `viewport` {x, y, w, h} after the view came to rest, `drawings` (with
`drawing` while a box is dragged, and `version`, the `drawings_version` they were drawn upon, if one was
given), `click` {x, y}.
"""
