// From even to warped: the grid's nodes move on straight lines; lines, zoom map and picture follow.

const MORPH_MS = 900;
const MORPH_SIDE = 512; // pixels a side of a picture on its way

/** Nodes of the even grid over `region`: between its corner pixel centres, as uniform downsampling. */
function evenNodes({ nx, ny, region }) {
  const out = new Float64Array(2 * nx * ny);
  for (let j = 0, k = 0; j < ny; j++) {
    for (let i = 0; i < nx; i++, k += 2) {
      out[k] = region.x + 0.5 + (i / (nx - 1)) * Math.max(region.w - 1, 0);
      out[k + 1] = region.y + 0.5 + (j / (ny - 1)) * Math.max(region.h - 1, 0);
    }
  }
  return out;
}

/** Nodes between even (0) and the grid's own (1), flat x, y; kept until the amount changes. */
function blended(grid, amount) {
  if (amount >= 1 || !grid.region) return grid.nodes;
  if (grid.blend && grid.blend.amount === amount) return grid.blend.nodes;
  const even = grid.even || (grid.even = evenNodes(grid));
  const nodes = even.map((v, k) => v + amount * (grid.nodes[k] - v));
  grid.blend = { amount, nodes };
  return nodes;
}

/** log2 of the linear zoom of each cell against even downsampling, row by row. */
function cellZooms(grid, amount) {
  const { nx, ny, region } = grid;
  const n = blended(grid, amount);
  const even = (Math.max(region.w - 1, 1e-9) * Math.max(region.h - 1, 1e-9)) / ((nx - 1) * (ny - 1));
  const out = new Float64Array((nx - 1) * (ny - 1));
  for (let j = 0, c = 0; j < ny - 1; j++) {
    for (let i = 0; i < nx - 1; i++, c++) {
      const [a, d] = [2 * (j * nx + i), 2 * ((j + 1) * nx + i)];
      const [px, py] = [n[d + 2] - n[a], n[d + 3] - n[a + 1]];
      const [qx, qy] = [n[a + 2] - n[d], n[a + 3] - n[d + 1]];
      const area = Math.abs(px * qy - py * qx) / 2;
      out[c] = 0.5 * Math.log2(even / Math.max(area, even * 2 ** -16));
    }
  }
  return out;
}

/** The zoom map on its way: each cell of the moving grid in its colour, opaque. `place(j, i)` -> point. */
function drawZooms(ctx, grid, amount, look, place) {
  const zooms = cellZooms(grid, amount);
  const [lo, hi] = look.range || [look.vmin, look.vmax];
  for (let j = 0, c = 0; j < grid.ny - 1; j++) {
    for (let i = 0; i < grid.nx - 1; i++, c++) {
      ctx.fillStyle = ctx.strokeStyle = cssAt(look.lut, (zooms[c] - lo) / (hi - lo || 1));
      ctx.beginPath();
      [[j, i], [j, i + 1], [j + 1, i + 1], [j + 1, i]].forEach(([r, s], k) => (k ? ctx.lineTo(...place(r, s)) : ctx.moveTo(...place(r, s))));
      ctx.fill();
      ctx.stroke(); // no seams
    }
  }
}

/**
 * The output between even and warped, as ImageData. `even` and `warped` are ImageData of one size;
 * both are read where the moving grid reads the image, so that they always lie on each other.
 */
function morphed(even, warped, warp, amount) {
  const { width: w, height: h } = even;
  const { nx, ny, region } = warp.grid;
  const nodes = blended(warp.grid, amount);
  const own = new Float64Array(5 * nx * ny); // per node: x, y in `even`, x, y in `warped`, weight
  for (let k = 0; k < nx * ny; k++) {
    const [x, y] = [nodes[2 * k], nodes[2 * k + 1]];
    own[5 * k] = ((x - region.x - 0.5) / Math.max(region.w - 1, 1e-9)) * (w - 1);
    own[5 * k + 1] = ((y - region.y - 0.5) / Math.max(region.h - 1, 1e-9)) * (h - 1);
    const at = warp.toOutput(x, y);
    own[5 * k + 2] = at ? ((at[0] - 0.5) / Math.max(warp.w - 1, 1)) * (w - 1) : ((k % nx) / (nx - 1)) * (w - 1);
    own[5 * k + 3] = at ? ((at[1] - 0.5) / Math.max(warp.h - 1, 1)) * (h - 1) : (Math.floor(k / nx) / (ny - 1)) * (h - 1);
    own[5 * k + 4] = at ? amount : 0; // cropped: only the even picture knows it
  }
  const out = new ImageData(w, h);
  const row = new Float64Array(5 * nx);
  const a = [0, 0, 0];
  const b = [0, 0, 0];
  for (let y = 0, o = 0; y < h; y++) {
    const v = (h > 1 ? y / (h - 1) : 0.5) * (ny - 1);
    const j = Math.min(Math.floor(v), ny - 2);
    for (let k = 0; k < row.length; k++) {
      const upper = own[5 * nx * j + k];
      row[k] = upper + (own[5 * nx * (j + 1) + k] - upper) * (v - j);
    }
    for (let x = 0; x < w; x++, o += 4) {
      const u = (w > 1 ? x / (w - 1) : 0.5) * (nx - 1);
      const i = Math.min(Math.floor(u), nx - 2);
      const s = u - i;
      const k = 5 * i;
      const at = (c) => row[k + c] + (row[k + 5 + c] - row[k + c]) * s;
      tap(even, at(0), at(1), a);
      tap(warped, at(2), at(3), b);
      const share = at(4);
      for (let c = 0; c < 3; c++) out.data[o + c] = a[c] + (b[c] - a[c]) * share;
      out.data[o + 3] = 255;
    }
  }
  return out;
}

/** Bilinear reading of a picture at (x, y), clamped to it. */
function tap(image, x, y, out) {
  const [w, h] = [image.width, image.height];
  const cx = clamp(x, 0, w - 1);
  const cy = clamp(y, 0, h - 1);
  const i = Math.min(Math.floor(cx), Math.max(w - 2, 0));
  const j = Math.min(Math.floor(cy), Math.max(h - 2, 0));
  const [s, t] = [cx - i, cy - j];
  const k = 4 * (j * w + i);
  const right = w > 1 ? 4 : 0;
  const below = h > 1 ? 4 * w : 0;
  const d = image.data;
  for (let c = 0; c < 3; c++) {
    const top = d[k + c] + (d[k + right + c] - d[k + c]) * s;
    const low = d[k + below + c] + (d[k + below + right + c] - d[k + below + c]) * s;
    out[c] = top + (low - top) * t;
  }
}

/** How much of the warp is applied. */
class Morph extends Scrub {
  constructor(root, changed, still) {
    super({ most: 1, step: 0.01, lasts: () => MORPH_MS, ease: (t) => t * t * (3 - 2 * t), changed, still,
      title: 'From even to warped', label: 'Warp amount, 0 even, 1 warped' });
    this.set(1, true);
    root.append(this.play, h('span', { text: 'even' }), this.bar, h('span', { text: 'warped' }));
  }

  get amount() {
    return this.value;
  }
}
