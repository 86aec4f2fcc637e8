// Vector overlays, drawn in screen pixels from level-0 coordinates: lines stay sharp at every zoom.

const MAX_LINES = 64; // grid lines a side when the whole grid is in view

function drawGrid(ctx, view, spec, amount = 1) {
  const { nx, ny } = spec;
  const nodes = blended(spec, amount);
  ctx.strokeStyle = spec.color || view.accent;
  ctx.lineWidth = spec.width || 1;
  ctx.lineJoin = 'round';
  const box = spec.bounds || (spec.bounds = boundsOf(spec.nodes));
  const magnified = Math.max(1, ((box[2] - box[0]) * view.scale) / view.w);
  const every = (n) => Math.max(1, Math.floor(Math.ceil(n / MAX_LINES) / magnified));
  ctx.beginPath();
  line2d(ctx, view, nodes, ny, every(ny), nx, (r, c) => 2 * (r * nx + c));
  line2d(ctx, view, nodes, nx, every(nx), ny, (c, r) => 2 * (r * nx + c));
  const cell = ((box[2] - box[0]) * view.scale) / Math.max(nx - 1, 1);
  if (cell > 32) { // a soft rim where there is room: the line is seen on any picture
    const [colour, width] = [ctx.strokeStyle, ctx.lineWidth];
    ctx.strokeStyle = 'rgba(0,0,0,.2)';
    ctx.lineWidth = width + 1.5;
    ctx.stroke();
    [ctx.strokeStyle, ctx.lineWidth] = [colour, width];
  }
  ctx.stroke();
}

/** Polylines along one direction of the grid; pieces wholly off screen are skipped. */
function line2d(ctx, view, nodes, lines, every, n, at) {
  const m = 2 / view.scale;
  for (let l = 0; l < lines; l += l + every >= lines && l < lines - 1 ? lines - 1 - l : every) {
    let pen = false;
    let k = at(l, 0);
    let [px, py] = [nodes[k], nodes[k + 1]];
    for (let i = 1; i < n; i++) {
      k = at(l, i);
      const [x, y] = [nodes[k], nodes[k + 1]];
      const off =
        Math.max(px, x) < view.x0 - m || Math.min(px, x) > view.x1 + m ||
        Math.max(py, y) < view.y0 - m || Math.min(py, y) > view.y1 + m;
      if (off) pen = false;
      else {
        if (!pen) ctx.moveTo(...view.at(px, py));
        ctx.lineTo(...view.at(x, y));
        pen = true;
      }
      [px, py] = [x, y];
    }
  }
}

function boundsOf(flat) {
  const b = [Infinity, Infinity, -Infinity, -Infinity];
  for (let k = 0; k < flat.length; k += 2) {
    b[0] = Math.min(b[0], flat[k]);
    b[1] = Math.min(b[1], flat[k + 1]);
    b[2] = Math.max(b[2], flat[k]);
    b[3] = Math.max(b[3], flat[k + 1]);
  }
  return b;
}

/** Style of box `i`: its class (colour, dash, hatch, fill), or its own colour. */
function boxStyle(spec, i, view) {
  const colour = spec.colors ? spec.colors[i] : undefined;
  if (typeof colour === 'string') return { key: colour, color: colour };
  if (Number.isInteger(colour)) {
    const c = (spec.classes || [])[colour] || {};
    return { key: colour, ...c, color: c.color || classColour(spec, colour) };
  }
  return { key: '', color: spec.color || view.accent };
}

function drawBoxes(ctx, view, spec) {
  const groups = new Map();
  const labels = [];
  spec.boxes.forEach(([x, y, w, h], i) => {
    if (x > view.x1 || y > view.y1 || x + w < view.x0 || y + h < view.y0) return;
    const style = boxStyle(spec, i, view);
    if (!groups.has(style.key)) groups.set(style.key, { style, rects: [] });
    const [l, t] = view.at(x, y);
    const rect = [l, t, Math.max(w * view.scale, 1), Math.max(h * view.scale, 1)];
    groups.get(style.key).rects.push(rect);
    const text = boxText(spec, i);
    if (text && rect[2] > 28 && rect[3] > 14 && labels.length < 400) labels.push([text, rect, style.color]);
  });
  for (const { style, rects } of groups.values()) {
    const path = new Path2D();
    rects.forEach(([l, t, w, h]) => clippedRect(path, view, l, t, w, h));
    if (style.fill) {
      ctx.fillStyle = style.fill === true ? `${style.color}40` : style.fill;
      ctx.fill(path);
    }
    if (style.hatch) {
      ctx.fillStyle = hatch(ctx, style.color, style.hatch);
      ctx.fill(path);
    }
    ctx.strokeStyle = 'rgba(0,0,0,.4)'; // a dark rim: seen on white tissue and on black sea alike
    ctx.lineWidth = (style.width || spec.width || 2) + 1.5;
    ctx.stroke(path);
    ctx.setLineDash(style.dash || spec.dash || []);
    ctx.strokeStyle = style.color;
    ctx.lineWidth = style.width || spec.width || 2;
    ctx.stroke(path);
    ctx.setLineDash([]);
  }
  ctx.font = '11px system-ui, sans-serif';
  ctx.textBaseline = 'middle';
  for (const [text, [l, t], colour] of labels) tag(ctx, text, l, t, colour);
}

/** A rectangle cut a little outside the screen: a dash pattern over 100,000 px would be slow. */
function clippedRect(path, view, l, t, w, h) {
  const [x0, y0] = [Math.max(l, -64), Math.max(t, -64)];
  const [x1, y1] = [Math.min(l + w, view.w + 64), Math.min(t + h, view.h + 64)];
  path.rect(x0, y0, x1 - x0, y1 - y0);
}

function boxText(spec, i) {
  const label = spec.labels ? spec.labels[i] : undefined;
  const score = spec.scores ? spec.scores[i] : undefined;
  const parts = [];
  if (label !== undefined && label !== null && label !== '') parts.push(String(label));
  if (typeof score === 'number') parts.push(score.toFixed(2));
  return parts.join(' ');
}

function tag(ctx, text, l, t, colour) {
  const width = ctx.measureText(text).width + 8;
  const y = t >= 16 ? t - 8 : t + 8;
  ctx.fillStyle = 'rgba(16,18,20,.82)';
  ctx.fillRect(l, y - 8, width, 16);
  ctx.fillStyle = colour;
  ctx.fillRect(l, y - 8, 2, 16);
  ctx.fillStyle = '#f2f4f6';
  ctx.fillText(text, l + 5, y + 0.5);
}

const HATCHES = {};
function hatch(ctx, colour, kind) {
  const key = `${colour}|${kind}`;
  if (!HATCHES[key]) {
    const c = new OffscreenCanvas(8, 8);
    const p = c.getContext('2d');
    p.strokeStyle = colour;
    p.globalAlpha = 0.7;
    p.beginPath();
    if (kind === '/' || kind === 'x') [-8, 0, 8].forEach((o) => { p.moveTo(o, 8); p.lineTo(o + 8, 0); });
    if (kind === '\\' || kind === 'x') [-8, 0, 8].forEach((o) => { p.moveTo(o, 0); p.lineTo(o + 8, 8); });
    if (kind === '.') p.arc(4, 4, 1, 0, 7);
    if (kind === '-') { p.moveTo(0, 4); p.lineTo(8, 4); }
    p.stroke();
    HATCHES[key] = c;
  }
  return ctx.createPattern(HATCHES[key], 'repeat');
}

function drawPoints(ctx, view, spec) {
  const radius = spec.radius || 4;
  const [lo, hi] = spec.range || [spec.vmin || 0, spec.vmax === undefined ? 1 : spec.vmax];
  const m = radius / view.scale;
  ctx.lineWidth = radius < 4 ? 0.5 : 1; // many small dots: colour, not rims
  ctx.strokeStyle = radius < 4 ? 'rgba(0,0,0,.5)' : 'rgba(0,0,0,.7)';
  for (let k = 0, i = 0; k < spec.points.length; k += 2, i++) {
    const [x, y] = [spec.points[k], spec.points[k + 1]];
    if (x < view.x0 - m || x > view.x1 + m || y < view.y0 - m || y > view.y1 + m) continue;
    const value = spec.values ? spec.values[i] : undefined;
    if (typeof value === 'number' && spec.threshold !== undefined && spec.threshold !== null && value < spec.threshold) continue;
    const kind = Array.isArray(spec.point_classes) ? spec.point_classes[i] : undefined;
    ctx.fillStyle =
      kind !== undefined ? classColour(spec, kind)
        : typeof value === 'number' ? cssAt(spec.lut || 'viridis', (value - lo) / (hi - lo || 1))
          : spec.color || view.accent;
    const [sx, sy] = view.at(x, y);
    ctx.beginPath();
    ctx.arc(sx, sy, radius, 0, 2 * Math.PI);
    ctx.fill();
    ctx.stroke();
  }
}

/** Polylines as flat [x0, y0, x1, y1, ...] or pairs [[x, y], ...]. */
function drawLines(ctx, view, spec) {
  ctx.lineJoin = ctx.lineCap = 'round';
  ctx.setLineDash(spec.dash || []);
  spec.polylines.forEach((points, i) => {
    const flat = typeof points[0] === 'number' ? points : points.flat();
    const colour = spec.colors ? spec.colors[i] : undefined;
    ctx.strokeStyle =
      typeof colour === 'string' ? colour : Number.isInteger(colour) ? classColour(spec, colour) : spec.color || view.accent;
    ctx.lineWidth = (spec.widths && spec.widths[i]) || spec.width || 2;
    ctx.beginPath();
    line2d(ctx, view, flat, 1, 1, flat.length / 2, (_, k) => 2 * k);
    if (spec.closed && flat.length > 4) ctx.lineTo(...view.at(flat[0], flat[1]));
    ctx.stroke();
  });
  ctx.setLineDash([]);
}

/** Tiles that were read, coloured by pyramid level. */
function drawTiles(ctx, view, spec) {
  const levels = new Map();
  for (const [x, y, w, h, level] of spec.rects) {
    if (x > view.x1 || y > view.y1 || x + w < view.x0 || y + h < view.y0) continue;
    if (!levels.has(level)) levels.set(level, new Path2D());
    const [l, t] = view.at(x, y);
    clippedRect(levels.get(level), view, l + 0.5, t + 0.5, Math.max(w * view.scale - 1, 1), Math.max(h * view.scale - 1, 1));
  }
  ctx.lineWidth = spec.width || 1.25;
  [...levels.keys()].sort((a, b) => b - a).forEach((level) => {
    const colour = LEVELS[level % LEVELS.length];
    ctx.fillStyle = `${colour}26`;
    ctx.fill(levels.get(level));
    ctx.strokeStyle = colour;
    ctx.stroke(levels.get(level));
  });
}

const SHAPES = { grid: drawGrid, boxes: drawBoxes, points: drawPoints, lines: drawLines, tiles: drawTiles };
