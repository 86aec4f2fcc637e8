// One picture of the output pane: decoded once, linked point by point to the image.

class Tile {
  /** host: {hover(point|null), fly(box), redraw(), even(id) -> Tile, amount, lattice}. */
  constructor(host) {
    this.host = host;
    this.root = h('div', { class: 'hv-tile' });
    this.title = h('b', {});
    this.note = h('span', { class: 'hv-tile-note' });
    const caption = h('div', { class: 'hv-tile-caption' });
    caption.append(this.title, this.note);
    this.canvas = h('canvas', { class: 'hv-output', role: 'img' });
    this.legend = h('div', { class: 'hv-tile-legend' });
    this.root.append(caption, this.canvas, this.legend);
    this.cross = null; // output pixels
    this.canvas.addEventListener('pointermove', (e) => this._hover(e));
    this.canvas.addEventListener('pointerleave', () => host.hover(null));
    this.canvas.addEventListener('click', (e) => this._click(e));
  }

  update(view) {
    const geometry = JSON.stringify([view.grid, view.box, view.width, view.height]);
    if (geometry !== this.geometry) this.warp = new Warp(view);
    this.geometry = geometry;
    this.view = view;
    this.title.textContent = view.title || 'Output';
    this.canvas.setAttribute('aria-label', `${view.title || 'Output'} picture`);
    this.note.textContent = view.map ? '' : `${thin(view.width)} \u00d7 ${thin(view.height)} px`;
    if (view.map) {
      const key = JSON.stringify(view.map);
      if (key !== this.key) this.legend.replaceChildren(bar(view.map, view.map));
      this.key = key;
      this.table = lookup(view.map, view.map);
      this.stamp = ++STAMP;
    }
    const url = view.png || view.url;
    if (url !== this.url) this._load(url);
  }

  remove() {
    this.root.remove();
  }

  async _load(url) {
    this.url = url;
    try {
      const blob = await blobOf(url);
      const picture = this.view.map ? await decodeIndex(blob) : await createImageBitmap(blob);
      if (this.url !== url) return;
      this.picture = picture;
      this.pixels = null;
      this.host.redraw();
    } catch (error) {
      if (this.url === url) this.note.textContent = `could not be shown: ${error.message}`;
    }
  }

  /** Colours under the pointer of a map: {label, text}, or null. */
  valueAt(point) {
    const { map } = this.view;
    const p = map && this.picture && point ? this.warp.toOutput(...point) : null;
    if (!p) return null;
    const { w, h, index } = this.picture;
    const i = clamp(Math.floor((p[0] / this.view.width) * w), 0, w - 1);
    const j = clamp(Math.floor((p[1] / this.view.height) * h), 0, h - 1);
    const value = valueOf(index[j * w + i], map);
    return { label: map.label, text: tidy(value, map.vmax - map.vmin) };
  }

  point(at) {
    this.cross = at && this.warp.usable ? this.warp.toOutput(at[0], at[1]) : null;
  }

  draw(scale) {
    const { view, canvas } = this;
    this.scale = scale;
    const ratio = window.devicePixelRatio || 1;
    const [pw, ph] = [view.width * scale, view.height * scale];
    const [w, h] = [Math.max(1, Math.round(pw * ratio)), Math.max(1, Math.round(ph * ratio))];
    if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
    canvas.style.width = `${pw}px`;
    canvas.style.height = `${ph}px`;
    const ctx = canvas.getContext('2d');
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, pw, ph);
    const moving = this.host.amount < 1 && view.grid && view.grid.region;
    if (this.picture) this._picture(ctx, pw, ph, moving);
    if (view.boxes && !moving) {
      const own = { scale, x0: 0, y0: 0, x1: view.width, y1: view.height, w: pw, h: ph, accent: MARK, at: (x, y) => [x * scale, y * scale] };
      drawBoxes(ctx, own, { boxes: view.boxes, color: CLASSES[0], width: view.boxes.length > 60 ? 0.75 : 1.5 });
    }
    if (this.host.lattice && view.grid) this._lattice(ctx, pw, ph);
    if (this.cross) crosshair(ctx, this.cross[0] * scale, this.cross[1] * scale, MARK);
  }

  _picture(ctx, pw, ph, moving) {
    const { view } = this;
    ctx.imageSmoothingEnabled = this.scale <= 2;
    ctx.imageSmoothingQuality = 'high';
    if (view.map && moving) {
      const { nx, ny } = view.grid;
      drawZooms(ctx, view.grid, this.host.amount, view.map, (j, i) => [(i / (nx - 1)) * pw, (j / (ny - 1)) * ph]);
    } else if (view.map) {
      ctx.imageSmoothingEnabled = true;
      ctx.drawImage(paint(this.picture, this.table, this.stamp), 0, 0, pw, ph);
    } else ctx.drawImage((moving && this._moving(pw, ph)) || this.picture, 0, 0, pw, ph);
  }

  /** The picture on its way from even to warped; null where there is no even one. */
  _moving(pw, ph) {
    const even = this.view.even ? this.host.even(this.view.even) : null;
    if (!even || !even.picture) return null;
    const shrink = Math.min(1, MORPH_SIDE / Math.max(pw, ph));
    const size = [pw, ph].map((v) => Math.max(2, Math.round(v * shrink)));
    const made = morphed(even.data(...size), this.data(...size), this.warp, this.host.amount);
    this.buffer = this.buffer || new OffscreenCanvas(1, 1);
    [this.buffer.width, this.buffer.height] = size;
    this.buffer.getContext('2d').putImageData(made, 0, 0);
    return this.buffer;
  }

  /** The picture's pixels at a size; kept, for every frame of a motion asks for them. */
  data(w, h) {
    if (!this.pixels || this.pixels.width !== w || this.pixels.height !== h) {
      const ctx = new OffscreenCanvas(w, h).getContext('2d', { willReadFrequently: true });
      ctx.imageSmoothingQuality = 'high';
      ctx.drawImage(this.picture, 0, 0, w, h);
      this.pixels = ctx.getImageData(0, 0, w, h);
    }
    return this.pixels;
  }

  _lattice(ctx, pw, ph) {
    const { nx, ny } = this.view.grid;
    ctx.strokeStyle = MARK;
    ctx.globalAlpha = 0.45;
    ctx.lineWidth = 1;
    ctx.beginPath();
    const every = (n) => Math.ceil(n / MAX_LINES);
    const place = (k, n, size) => (0.5 + (k / Math.max(n - 1, 1)) * (size - 1)) * this.scale;
    for (let i = 0; i < nx; i += every(nx)) {
      const x = place(i, nx, this.view.width);
      ctx.moveTo(x, 0);
      ctx.lineTo(x, ph);
    }
    for (let j = 0; j < ny; j += every(ny)) {
      const y = place(j, ny, this.view.height);
      ctx.moveTo(0, y);
      ctx.lineTo(pw, y);
    }
    ctx.stroke();
    ctx.globalAlpha = 1;
  }

  _at(event) {
    const r = this.canvas.getBoundingClientRect();
    const [px, py] = [(event.clientX - r.left) / this.scale, (event.clientY - r.top) / this.scale];
    return px < 0 || py < 0 || px > this.view.width || py > this.view.height ? null : [px, py];
  }

  _hover(event) {
    const p = this._at(event);
    this.host.hover(p && this.warp.usable ? this.warp.toImage(...p) : null, this, p);
  }

  /** Flies to what a fifth of the output around the point was read from. */
  _click(event) {
    const p = this._at(event);
    if (!p || !this.warp.usable) return;
    const { width, height } = this.view;
    const corners = [[-1, -1], [1, -1], [-1, 1], [1, 1], [0, 0]].map(([i, j]) =>
      this.warp.toImage(clamp(p[0] + (i * width) / 10, 0, width), clamp(p[1] + (j * height) / 10, 0, height)));
    const [xs, ys] = [corners.map((c) => c[0]), corners.map((c) => c[1])];
    const [cx, cy] = this.warp.toImage(...p);
    const w = Math.max(Math.max(...xs) - Math.min(...xs), 64);
    const h = Math.max(Math.max(...ys) - Math.min(...ys), 64);
    this.host.fly({ x: cx - w / 2, y: cy - h / 2, w, h });
  }
}
