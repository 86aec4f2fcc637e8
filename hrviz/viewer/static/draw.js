// Drawing boxes and strokes over the image, in level-0 pixels.

const TELL = 150; // milliseconds between tellings of a box under way

class Drawing {
  /** host: {toImage(position) -> [x, y], scale(), redraw(), changed(drawings)}. */
  constructor(viewer, host) {
    this.host = host;
    this.mode = null;
    this.boxes = [];
    this.strokes = [];
    this.asked = null; // what dragging draws, and what it draws with the shift key
    this.shift = null;
    this.current = null; // points of the drawing under way
    this.told = 0;
    this.version = undefined; // of the drawings that the page set last
    viewer.addHandler('canvas-press', (e) => {
      this.mode = e.originalEvent && e.originalEvent.shiftKey && this.shift ? this.shift : this.asked;
      if (this.mode) this.current = [host.toImage(e.position)];
    });
    viewer.addHandler('canvas-drag', (e) => {
      if (!this.mode) return;
      e.preventDefaultAction = true;
      if (this.current) this._extend(host.toImage(e.position));
    });
    viewer.addHandler('canvas-drag-end', (e) => {
      if (this.mode) e.preventDefaultAction = true;
    });
    viewer.addHandler('canvas-release', () => {
      if (this.mode && this.current) this._finish();
    });
  }

  _extend(point) {
    if (this.mode === 'box') this.current = [this.current[0], point];
    else {
      const last = this.current[this.current.length - 1];
      const far = Math.hypot(point[0] - last[0], point[1] - last[1]) * this.host.scale() > 2;
      if (far) this.current.push(point);
    }
    this.host.redraw();
    // a box under way is told now and then, so that what follows from it follows the pointer
    if (this.mode === 'box' && this.live && performance.now() - this.told > TELL) {
      this.told = performance.now();
      const box = this._box(this.current);
      this.hinted = Boolean(box);
      if (box) this._tell({ boxes: [...this.boxes, box], strokes: this.strokes.slice(), drawing: true });
    }
  }

  /** What dragging does from now on: a mode, and another with the shift key; null pans. `live`: boxes are told under way. */
  settle(mode, shift, live) {
    if (mode !== this.asked) this.cancel();
    [this.asked, this.shift, this.live] = [mode, shift, Boolean(live)];
    if (!this.current) this.mode = mode;
  }

  /** The box between two points, in whole pixels; null when it is too small to be meant. */
  _box(points) {
    const box = boxOf(points);
    if (Math.min(box.w, box.h) * this.host.scale() < 3) return null;
    return { x: Math.round(box.x), y: Math.round(box.y), w: Math.max(1, Math.round(box.w)), h: Math.max(1, Math.round(box.h)) };
  }

  _finish() {
    const points = this.current;
    this.current = null;
    if (points.length < 2) return;
    if (this.mode === 'box') {
      const box = this._box(points);
      if (!box) {
        this._take();
        return;
      }
      this.boxes.push(box);
    } else this.strokes.push(points.map((p) => p.map((v) => Math.round(v * 10) / 10)));
    this._changed();
  }

  cancel() {
    const was = this.current !== null;
    this.current = null;
    if (was) this._take();
    return was;
  }

  /** The drawing under way is given up: what was told of it is taken back. */
  _take() {
    if (this.hinted) this._changed();
    else this.host.redraw();
  }

  clear() {
    this.boxes = [];
    this.strokes = [];
    this._changed();
  }

  /** `version`, if any, comes back with what is drawn from now on. */
  set(drawings, version) {
    this.version = version;
    this.boxes = ((drawings && drawings.boxes) || []).map((b) => ({ ...b }));
    this.strokes = ((drawings && drawings.strokes) || []).map((s) => s.slice());
    this.host.redraw();
  }

  get count() {
    return this.boxes.length + this.strokes.length;
  }

  get value() {
    return { boxes: this.boxes, strokes: this.strokes };
  }

  _changed() {
    this.hinted = false;
    this.host.redraw();
    this._tell({ boxes: this.boxes.slice(), strokes: this.strokes.slice() });
  }

  _tell(drawings) {
    this.host.changed(this.version === undefined ? drawings : { ...drawings, version: this.version });
  }

  /** Removes the drawing whose x lies under a level-0 point; true if there was one. */
  removeAt(x, y) {
    const reach = 10 / this.host.scale();
    const near = ([px, py]) => Math.hypot(px - x, py - y) < reach;
    const b = this.boxes.findIndex((box) => near(handleOfBox(box)));
    if (b >= 0) this.boxes.splice(b, 1);
    else {
      const s = this.strokes.findIndex((stroke) => near(stroke[0]));
      if (s < 0) return false;
      this.strokes.splice(s, 1);
    }
    this._changed();
    return true;
  }

  draw(ctx, view) {
    const now = this.current && this.current.length > 1 ? this.current : null;
    const boxes = now && this.mode === 'box' ? [...this.boxes, boxOf(now)] : this.boxes;
    const strokes = now && this.mode === 'stroke' ? [...this.strokes, now] : this.strokes;
    const path = new Path2D();
    for (const b of boxes) clippedRect(path, view, ...view.at(b.x, b.y), b.w * view.scale, b.h * view.scale);
    for (const s of strokes) s.forEach(([x, y], i) => (i ? path.lineTo(...view.at(x, y)) : path.moveTo(...view.at(x, y))));
    ctx.lineJoin = ctx.lineCap = 'round';
    for (const [style, width] of [['rgba(0,0,0,.6)', 4], ['#ffffff', 2]]) {
      ctx.strokeStyle = style;
      ctx.lineWidth = width;
      ctx.stroke(path);
    }
    for (const b of this.boxes) removeMark(ctx, ...view.at(...handleOfBox(b)));
    for (const s of this.strokes) removeMark(ctx, ...view.at(...s[0]));
  }
}

function boxOf([a, b]) {
  return { x: Math.min(a[0], b[0]), y: Math.min(a[1], b[1]), w: Math.abs(a[0] - b[0]), h: Math.abs(a[1] - b[1]) };
}

function handleOfBox(b) {
  return [b.x + b.w, b.y];
}

function removeMark(ctx, x, y) {
  ctx.fillStyle = 'rgba(16,18,20,.9)';
  ctx.strokeStyle = '#ffffff';
  ctx.lineWidth = 1.5;
  ctx.beginPath();
  ctx.arc(x, y, 8, 0, 2 * Math.PI);
  ctx.fill();
  ctx.stroke();
  ctx.beginPath();
  ctx.moveTo(x - 3, y - 3);
  ctx.lineTo(x + 3, y + 3);
  ctx.moveTo(x + 3, y - 3);
  ctx.lineTo(x - 3, y + 3);
  ctx.stroke();
}
