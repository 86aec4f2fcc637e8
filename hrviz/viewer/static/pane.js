// The output pane: what the network receives, beside the image it was read from; hover links the two.

class Pane {
  /** host: {hover(point|null), fly(box)} in level-0 pixels. */
  constructor(parts, host) {
    this.parts = parts; // {root, canvas, title, note, lattice}
    this.host = host;
    this.output = null;
    this.picture = null;
    this.cross = null; // output pixels
    this.lattice = false;
    const { canvas, lattice } = parts;
    canvas.addEventListener('pointermove', (e) => this._hover(e));
    canvas.addEventListener('pointerleave', () => this._leave());
    canvas.addEventListener('click', (e) => this._click(e));
    lattice.addEventListener('click', () => {
      this.lattice = !this.lattice;
      lattice.setAttribute('aria-pressed', String(this.lattice));
      this.draw();
    });
    this.resize = new ResizeObserver(() => this.draw());
    this.resize.observe(canvas.parentElement);
  }

  update(output) {
    this.parts.root.hidden = !output;
    if (!output) {
      this.output = this.picture = this.warp = this.cross = null;
      this.url = this.same = '';
      return;
    }
    const same = JSON.stringify([output.grid, output.box, output.width, output.height]);
    if (same !== this.same) this.warp = new Warp(output);
    this.same = same;
    this.output = output;
    this.parts.title.textContent = output.title || 'Output';
    this.parts.note.textContent = `${thin(output.width)} \u00d7 ${thin(output.height)} px`;
    this.parts.lattice.hidden = !output.grid;
    const url = output.png || output.url;
    if (url !== this.url) this._load(url);
    this.draw();
  }

  async _load(url) {
    this.url = url;
    try {
      const picture = await createImageBitmap(await blobOf(url));
      if (this.url !== url) return;
      this.picture = picture;
      this.draw();
    } catch (error) {
      if (this.url === url) this.parts.note.textContent = `The output could not be shown: ${error.message}`;
    }
  }

  /** Placement of the picture inside the canvas: scaled to fit, at most 8 screen pixels a pixel. */
  _frame() {
    const host = this.parts.canvas.parentElement;
    const [w, h] = [host.clientWidth, host.clientHeight];
    const scale = Math.min(w / this.output.width, h / this.output.height, 8);
    const [pw, ph] = [this.output.width * scale, this.output.height * scale];
    return { w, h, scale, x: (w - pw) / 2, y: (h - ph) / 2, pw, ph };
  }

  draw() {
    if (!this.output) return;
    const { canvas } = this.parts;
    const f = this._frame();
    if (f.w === 0 || f.h === 0) return;
    const ratio = window.devicePixelRatio || 1;
    const [w, h] = [Math.round(f.w * ratio), Math.round(f.h * ratio)];
    if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
    const ctx = canvas.getContext('2d');
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, f.w, f.h);
    if (this.picture) {
      ctx.imageSmoothingEnabled = f.scale <= 2;
      ctx.imageSmoothingQuality = 'high';
      ctx.drawImage(this.picture, f.x, f.y, f.pw, f.ph);
    }
    if (this.lattice && this.output.grid) this._drawLattice(ctx, f);
    if (this.cross) {
      ctx.save();
      ctx.beginPath();
      ctx.rect(f.x, f.y, f.pw, f.ph);
      ctx.clip();
      crosshair(ctx, f.x + this.cross[0] * f.scale, f.y + this.cross[1] * f.scale, MARK);
      ctx.restore();
    }
  }

  _drawLattice(ctx, f) {
    const { nx, ny } = this.output.grid;
    const { width, height } = this.output;
    ctx.strokeStyle = MARK;
    ctx.globalAlpha = 0.45;
    ctx.lineWidth = 1;
    ctx.beginPath();
    const every = (n) => Math.ceil(n / MAX_LINES);
    for (let i = 0; i < nx; i += every(nx)) {
      const x = f.x + (0.5 + (i / Math.max(nx - 1, 1)) * (width - 1)) * f.scale;
      ctx.moveTo(x, f.y);
      ctx.lineTo(x, f.y + f.ph);
    }
    for (let j = 0; j < ny; j += every(ny)) {
      const y = f.y + (0.5 + (j / Math.max(ny - 1, 1)) * (height - 1)) * f.scale;
      ctx.moveTo(f.x, y);
      ctx.lineTo(f.x + f.pw, y);
    }
    ctx.stroke();
    ctx.globalAlpha = 1;
  }

  /** Where a level-0 point shows up in the output. */
  point(at) {
    const cross = at && this.warp && this.warp.usable ? this.warp.toOutput(at[0], at[1]) : null;
    if (!cross && !this.cross) return;
    this.cross = cross;
    this.draw();
  }

  _at(event) {
    if (!this.output) return null;
    const r = this.parts.canvas.getBoundingClientRect();
    const f = this._frame();
    const px = (event.clientX - r.left - f.x) / f.scale;
    const py = (event.clientY - r.top - f.y) / f.scale;
    return px < 0 || py < 0 || px > this.output.width || py > this.output.height ? null : [px, py];
  }

  _hover(event) {
    const p = this._at(event);
    this.cross = p;
    this.draw();
    this.host.hover(p && this.warp.usable ? this.warp.toImage(...p) : null);
  }

  _leave() {
    this.cross = null;
    this.draw();
    this.host.hover(null);
  }

  /** Flies to what a fifth of the output around the point was read from. */
  _click(event) {
    const p = this._at(event);
    if (!p || !this.warp.usable) return;
    const [dx, dy] = [this.output.width / 10, this.output.height / 10];
    const corners = [[-1, -1], [1, -1], [-1, 1], [1, 1], [0, 0]].map(([i, j]) =>
      this.warp.toImage(clamp(p[0] + i * dx, 0, this.output.width), clamp(p[1] + j * dy, 0, this.output.height)));
    const [xs, ys] = [corners.map((c) => c[0]), corners.map((c) => c[1])];
    const [cx, cy] = this.warp.toImage(...p);
    const w = Math.max(Math.max(...xs) - Math.min(...xs), 64);
    const h = Math.max(Math.max(...ys) - Math.min(...ys), 64);
    this.host.fly({ x: cx - w / 2, y: cy - h / 2, w, h });
  }

  destroy() {
    this.resize.disconnect();
  }
}
