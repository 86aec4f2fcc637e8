// All overlays on one canvas over the image, in the order given, in the same frame as the image.

class Overlays {
  constructor(canvas, host) {
    this.canvas = canvas;
    this.host = host; // {redraw, fail, requestMap?, tree(view) -> Tree of the pane}
    this.items = new Map(); // id -> {spec, raster?, tree?}
    this.hidden = false; // the 'o' key
    this.amount = 1; // how much of a warp is applied: below 1 its grid is on the way from even
  }

  update(specs) {
    const next = new Map();
    for (const spec of specs || []) {
      const old = this.items.get(spec.id);
      const item = old && old.spec.kind === spec.kind ? old : { raster: null };
      if (old && item !== old && old.raster) old.raster.destroy();
      item.spec = { ...spec };
      if (spec.kind === 'raster') {
        item.raster = item.raster || new Raster(this.host);
        item.raster.update(item.spec);
      }
      if (spec.kind === 'tree' && spec.boxes) {
        item.tree = item.tree || new Tree(this.host.redraw);
        item.tree.update(spec);
      }
      next.set(spec.id, item);
    }
    for (const [id, item] of this.items) if (!next.has(id) && item.raster) item.raster.destroy();
    this.items = next;
  }

  get visible() {
    return [...this.items.values()].filter((i) => i.spec.visible !== false);
  }

  /** The tree of an item: its own, or that of the pane. */
  _tree({ spec, tree }) {
    return spec.kind !== 'tree' ? null : tree || this.host.tree(spec.view) || null;
  }

  /** The pointer is over a level-0 point, or null: trees mark what lies there. */
  point(at) {
    for (const item of this.hidden ? [] : this.visible) {
      const tree = this._tree(item);
      if (tree) tree.point(at);
    }
  }

  draw(view, last) {
    const ratio = window.devicePixelRatio || 1;
    const [w, h] = [Math.round(view.w * ratio), Math.round(view.h * ratio)];
    if (this.canvas.width !== w || this.canvas.height !== h) [this.canvas.width, this.canvas.height] = [w, h];
    const ctx = this.canvas.getContext('2d');
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, view.w, view.h);
    if (!this.hidden) {
      const moving = this.amount < 1;
      for (const item of this.visible) {
        const { spec, raster } = item;
        const tree = this._tree(item);
        if (moving && spec.whole) continue; // tells of the whole warp only
        ctx.save();
        ctx.globalAlpha = spec.opacity === undefined ? 1 : spec.opacity;
        if (moving && spec.mesh) this._zooms(ctx, view, spec);
        else if (tree) drawTree(ctx, view, tree);
        else if (raster) raster.draw(ctx, view);
        else if (SHAPES[spec.kind]) SHAPES[spec.kind](ctx, view, spec, this.amount);
        if (item.tree) markTree(ctx, view, item.tree);
        ctx.restore();
      }
    }
    ctx.save();
    last(ctx, view);
    ctx.restore();
  }

  /** A zoom map while its grid is on the way: opaque on a sheet of its own, then as clear as it is. */
  _zooms(ctx, view, spec) {
    const n = blended(spec.mesh, this.amount);
    this.sheet = this.sheet || new OffscreenCanvas(1, 1);
    [this.sheet.width, this.sheet.height] = [Math.ceil(view.w), Math.ceil(view.h)];
    drawZooms(this.sheet.getContext('2d'), spec.mesh, this.amount, spec, (j, i) => {
      const k = 2 * (j * spec.mesh.nx + i);
      return view.at(n[k], n[k + 1]);
    });
    ctx.drawImage(this.sheet, 0, 0);
  }

  /** Raw values of the visible rasters, and decisions of the trees, under a level-0 point: [{label, text}]. */
  valuesAt(x, y) {
    if (this.hidden) return [];
    const out = [];
    for (const item of this.visible) {
      const { spec, raster } = item;
      const tree = this._tree(item);
      const node = tree ? tree.at(x, y) : -1;
      if (node >= 0) out.push({ label: tree.style(node).name, text: tree.facts(node) });
      const value = raster ? raster.valueAt(x, y) : undefined;
      if (value === undefined) continue;
      const e = raster.encoding;
      let text = tidy(value, e.vmax - e.vmin);
      if (spec.lut === 'labels' && Number.isFinite(value)) {
        const label = Math.round(value);
        const known = (spec.classes || []).find((c) => c.value === label) || (spec.classes || [])[label];
        text = known && known.name ? known.name : String(label);
      } else if (spec.unit && Number.isFinite(value)) text += ` ${spec.unit}`;
      out.push({ label: spec.label || spec.id, text });
    }
    return out;
  }

  destroy() {
    for (const { raster } of this.items.values()) if (raster) raster.destroy();
    this.items.clear();
  }
}

/** Crosshair with a dark rim, visible on any picture. */
function crosshair(ctx, x, y, colour) {
  for (const [style, width] of [['rgba(0,0,0,.65)', 4], [colour, 2]]) {
    ctx.strokeStyle = style;
    ctx.lineWidth = width;
    ctx.beginPath();
    ctx.arc(x, y, 7, 0, 2 * Math.PI);
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      ctx.moveTo(x + 4 * dx, y + 4 * dy);
      ctx.lineTo(x + 13 * dx, y + 13 * dy);
    }
    ctx.stroke();
  }
}
