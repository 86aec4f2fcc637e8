// Where an output pixel lies in the image and back: piecewise-bilinear grids, and plain boxes.

class Warp {
  /** output: {width, height, grid: {ny, nx, nodes}|null, box: {x, y, w, h}|null}. */
  constructor(output) {
    this.w = output.width;
    this.h = output.height;
    this.grid = output.grid || null;
    this.box = output.box || null;
    if (this.grid) this._index();
  }

  get usable() {
    return Boolean(this.grid || this.box);
  }

  /** Output position (pixels, centres at +0.5) to level-0 [x, y]. */
  toImage(px, py) {
    if (!this.grid) {
      const b = this.box;
      return b ? [b.x + (px / this.w) * b.w, b.y + (py / this.h) * b.h] : null;
    }
    const { nx, ny } = this.grid;
    // node k sits on output pixel centre k (N - 1) / (n - 1)
    const u = clamp(this.w > 1 ? ((px - 0.5) / (this.w - 1)) * (nx - 1) : 0, 0, nx - 1);
    const v = clamp(this.h > 1 ? ((py - 0.5) / (this.h - 1)) * (ny - 1) : 0, 0, ny - 1);
    const i = Math.min(Math.floor(u), Math.max(nx - 2, 0));
    const j = Math.min(Math.floor(v), Math.max(ny - 2, 0));
    const [a, b, c, d] = this._corners(j, i);
    const s = u - i;
    const t = v - j;
    return [0, 1].map((k) => (1 - t) * ((1 - s) * a[k] + s * b[k]) + t * ((1 - s) * c[k] + s * d[k]));
  }

  /** Level-0 (x, y) to output [px, py], or null where the output does not read. */
  toOutput(x, y) {
    if (!this.grid) {
      const b = this.box;
      if (!b || x < b.x || y < b.y || x > b.x + b.w || y > b.y + b.h) return null;
      return [((x - b.x) / b.w) * this.w, ((y - b.y) / b.h) * this.h];
    }
    const { nx, ny } = this.grid;
    const g = this.bins;
    const bx = Math.floor((x - g.x) / g.sx);
    const by = Math.floor((y - g.y) / g.sy);
    if (bx < 0 || by < 0 || bx >= g.n || by >= g.n) return null;
    for (const cell of g.cells[by * g.n + bx] || []) {
      const j = Math.floor(cell / (nx - 1));
      const i = cell - j * (nx - 1);
      const st = inverseBilinear(this._corners(j, i), x, y);
      if (st) {
        return [
          ((i + st[0]) / Math.max(nx - 1, 1)) * (this.w - 1) + 0.5,
          ((j + st[1]) / Math.max(ny - 1, 1)) * (this.h - 1) + 0.5,
        ];
      }
    }
    return null;
  }

  _corners(j, i) {
    const { nx, ny, nodes } = this.grid;
    const at = (r, c) => {
      const k = 2 * (Math.min(r, ny - 1) * nx + Math.min(c, nx - 1));
      return [nodes[k], nodes[k + 1]];
    };
    return [at(j, i), at(j, i + 1), at(j + 1, i), at(j + 1, i + 1)];
  }

  /** Cells by the bins that their bounding boxes touch: the inverse looks at a handful of cells. */
  _index() {
    const { nx, ny, nodes } = this.grid;
    let [x0, y0, x1, y1] = [Infinity, Infinity, -Infinity, -Infinity];
    for (let k = 0; k < nodes.length; k += 2) {
      x0 = Math.min(x0, nodes[k]);
      x1 = Math.max(x1, nodes[k]);
      y0 = Math.min(y0, nodes[k + 1]);
      y1 = Math.max(y1, nodes[k + 1]);
    }
    const n = Math.max(1, Math.min(256, Math.round(Math.sqrt((nx - 1) * (ny - 1)))));
    const sx = ((x1 - x0) / n) * (1 + 1e-9) || 1;
    const sy = ((y1 - y0) / n) * (1 + 1e-9) || 1;
    const cells = new Array(n * n);
    for (let j = 0; j < ny - 1; j++) {
      for (let i = 0; i < nx - 1; i++) {
        const corners = this._corners(j, i);
        const xs = corners.map((p) => p[0]);
        const ys = corners.map((p) => p[1]);
        const c0 = clamp(Math.floor((Math.min(...xs) - x0) / sx), 0, n - 1);
        const c1 = clamp(Math.floor((Math.max(...xs) - x0) / sx), 0, n - 1);
        const r0 = clamp(Math.floor((Math.min(...ys) - y0) / sy), 0, n - 1);
        const r1 = clamp(Math.floor((Math.max(...ys) - y0) / sy), 0, n - 1);
        for (let r = r0; r <= r1; r++) {
          for (let c = c0; c <= c1; c++) (cells[r * n + c] = cells[r * n + c] || []).push(j * (nx - 1) + i);
        }
      }
    }
    this.bins = { x: x0, y: y0, sx, sy, n, cells };
  }
}

function clamp(v, lo, hi) {
  return v < lo ? lo : v > hi ? hi : v;
}

/** (s, t) in [0, 1]^2 with bilinear(corners; s, t) = (x, y), exactly, or null. Corners a b / c d. */
function inverseBilinear([a, b, c, d], x, y) {
  const e = [b[0] - a[0], b[1] - a[1]];
  const f = [c[0] - a[0], c[1] - a[1]];
  const g = [a[0] - b[0] - c[0] + d[0], a[1] - b[1] - c[1] + d[1]];
  const h = [x - a[0], y - a[1]];
  const cross = (p, q) => p[0] * q[1] - p[1] * q[0];
  // h = s e + t f + s t g; crossing with (e + t g) leaves a quadratic in t
  const k2 = cross(g, f);
  const k1 = cross(e, f) + cross(h, g);
  const k0 = cross(h, e);
  const scale = Math.abs(cross(e, f)) + Math.abs(k1) || 1;
  let roots;
  if (Math.abs(k2) < 1e-9 * scale) {
    roots = k1 === 0 ? [] : [-k0 / k1];
  } else {
    const disc = k1 * k1 - 4 * k2 * k0;
    if (disc < 0) return null;
    const q = -0.5 * (k1 + (k1 < 0 ? -1 : 1) * Math.sqrt(disc));
    roots = [q / k2, q === 0 ? 0 : k0 / q];
  }
  const eps = 1e-6;
  for (const t of roots) {
    if (!(t >= -eps && t <= 1 + eps)) continue;
    const dx = e[0] + t * g[0];
    const dy = e[1] + t * g[1];
    const s = Math.abs(dx) > Math.abs(dy) ? (h[0] - t * f[0]) / dx : (h[1] - t * f[1]) / dy;
    if (s >= -eps && s <= 1 + eps) return [clamp(s, 0, 1), clamp(t, 0, 1)];
  }
  return null;
}
