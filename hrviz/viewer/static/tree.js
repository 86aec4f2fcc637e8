// A zoom tree: what was decided where, in the order decided; drawn on the image. See icicle.js.

const FEW = 300; // boxes on the screen up to which lines are thick, rimmed and named
const SPECK = 4; // screen pixels below which a box is a speck of colour

class Tree {
  /** `changed()` is called when another decision is looked at or another step is reached. */
  constructor(changed) {
    Object.assign(this, { changed, data: null, n: 0, step: 0, hovered: -1 });
  }

  /** New data. What is looked at stays; who was at the end, or looked at another tree, is at the end. */
  update(data) {
    const other = !this.data || data.source !== this.data.source || data.score_label !== this.data.score_label;
    const ended = other || this.step >= this.n;
    this.data = data;
    this.n = data.boxes.length;
    this.step = ended ? this.n : Math.min(this.step, this.n);
    if (this.hovered >= this.n) this.hovered = -1;
    this.heir = new Int32Array(this.n).fill(this.n); // first child of each: from then on it is a parent
    this.pixels = new Float64Array(this.n + 1);
    this.calls = new Float64Array(this.n + 1);
    data.parents.forEach((p, i) => {
      if (p >= 0 && this.heir[p] === this.n) this.heir[p] = i;
      this.pixels[i + 1] = this.pixels[i] + data.pixels[i];
      this.calls[i + 1] = this.calls[i] + data.calls[i];
    });
    this.depths = data.cells.reduce((d, c) => Math.max(d, c[2] + 1), 0);
    this.leaves = data.cells.reduce((d, c) => Math.max(d, c[1]), 1);
  }

  go(step) {
    const next = clamp(step, 0, this.n);
    if (next === this.step) return;
    this.step = next;
    this.changed();
  }

  hover(i) {
    if (i === this.hovered) return;
    this.hovered = i;
    this.changed();
  }

  /** The decision that is told of: under the pointer, else the newest on the way; -1 at the end. */
  get current() {
    return this.hovered >= 0 ? this.hovered : this.step < this.n ? this.step - 1 : -1;
  }

  /** The deepest of the nodes so far that hold a level-0 point, -1 beside all. */
  at(x, y) {
    let best = -1;
    for (let i = 0; i < this.step; i++) {
      const [l, t, w, h] = this.data.boxes[i];
      if (x < l || y < t || x >= l + w || y >= t + h) continue;
      if (best < 0 || this.data.cells[i][2] >= this.data.cells[best][2]) best = i;
    }
    return best;
  }

  point(at) {
    this.hover(at ? this.at(...at) : -1);
  }

  style(i) {
    return this.data.classes[this.data.colors[i]];
  }

  /** What stands on a box: its tag and draws; else, with `score`, that. */
  text(i, score) {
    const { labels, draws, scores } = this.data;
    const parts = [labels && labels[i], draws[i] > 1 && `\u00d7${draws[i]}`].filter(Boolean);
    if (!parts.length && score && scores && typeof scores[i] === 'number') parts.push(tiny(scores[i]));
    return parts.join(' ');
  }

  /** A decision in words, as `sentence` of hrviz/views/tree.py. */
  facts(i) {
    const d = this.data;
    const out = [];
    if (d.scores && typeof d.scores[i] === 'number') out.push(`${d.score_label} ${short(d.scores[i])}`);
    if (d.reasons[d.why[i]]) out.push(d.reasons[d.why[i]].replace(/\.$/, ''));
    if (d.draws[i] > 1) out.push(`drawn ${d.draws[i]} times`);
    out.push(d.downsamples[i] > 1 ? `1\u00a0:\u00a0${+d.downsamples[i].toPrecision(3)}` : 'full detail');
    if (d.pixels[i]) out.push(`${thin(d.pixels[i])} px read`);
    if (d.calls[i]) out.push(`${d.calls[i]} network call${d.calls[i] > 1 ? 's' : ''}`);
    return out.join(' \u00b7 ');
  }

  /** How many of each decision, and by whom. */
  summary() {
    const counts = new Map();
    for (const k of this.data.colors) counts.set(k, (counts.get(k) || 0) + 1);
    const parts = [...counts].sort((a, b) => a[0] - b[0]).map(([k, c]) => `${thin(c)} ${this.data.classes[k].name}`);
    return [...parts, this.data.source].filter(Boolean).join(' \u00b7 ');
  }

  /** Pixels read, network calls, share of looking everywhere: up to the step, of all. */
  totals() {
    const whole = this.step >= this.n;
    const of = (values, show) => {
      const [now, end] = [show(values[whole ? this.n : this.step]), show(values[this.n])];
      return now === end ? end : `${now} of ${end}`;
    };
    const share = (v) => { const s = (100 * v) / this.data.exhaustive; return String(s < 10 ? +s.toPrecision(2) : Math.round(s)); };
    const [size, unit] = [[1e9, 'Gpx read'], [1e6, 'Mpx read']].find(([s]) => this.pixels[this.n] >= s) || [1, 'px read'];
    const out = [
      [of(this.pixels, (v) => (size > 1 ? short(v / size) : thin(Math.round(v)))), unit],
      [of(this.calls, thin), this.calls[this.n] === 1 ? 'network call' : 'network calls'],
    ];
    if (this.data.exhaustive) out.push([`${of(this.pixels, share)} %`, 'of looking everywhere']);
    return out;
  }
}

/** Three significant digits, or as many as said. */
function short(value, digits = 3) {
  return thin(String(+value.toPrecision(digits)).replace('-', '\u2212'));
}

/** A score where there is little room. */
function tiny(value) {
  return value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential(0).replace('-', '\u2212') : short(value, 2);
}

/** The boxes of the decisions so far: leaves in their style, nodes that were looked into thinner. */
function drawTree(ctx, view, tree) {
  const { boxes } = tree.data;
  const groups = new Map();
  let seen = 0;
  for (let i = 0; i < tree.step; i++) {
    const [x, y, w, h] = boxes[i];
    if (x > view.x1 || y > view.y1 || x + w < view.x0 || y + h < view.y0) continue;
    const parent = tree.heir[i] < tree.step;
    const size = Math.min(w, h) * view.scale;
    if (parent && size < SPECK) continue;
    const kind = parent ? 0 : size < SPECK ? 1 : 2;
    const key = 100 * kind - tree.data.colors[i]; // what was taken lies over what was skipped
    if (!groups.has(key)) groups.set(key, { kind, style: tree.style(i), path: new Path2D(), at: [] });
    const group = groups.get(key);
    const gap = kind === 2 && size > 12 ? 1.5 : 0; // neighbours keep their own lines
    const [l, t] = view.at(x, y);
    clippedRect(group.path, view, l + gap, t + gap, Math.max(w * view.scale - 2 * gap, 1), Math.max(h * view.scale - 2 * gap, 1));
    group.at.push([i, l + gap, t + gap, w * view.scale, h * view.scale]);
    seen++;
  }
  const few = seen <= FEW;
  for (const key of [...groups.keys()].sort((a, b) => a - b)) treeBoxes(ctx, groups.get(key), few);
  if (!few) return;
  ctx.font = '11px system-ui, sans-serif';
  ctx.textBaseline = 'middle';
  for (const { kind, style, at } of groups.values()) {
    for (const [i, l, t, w, h] of at) {
      const text = kind === 2 && w > 36 && h > 20 ? tree.text(i, w > 64) : '';
      if (text && ctx.measureText(text).width + 8 < w) tag(ctx, text, Math.max(l, 0), Math.max(t, 0) + (t < 16 ? 0 : 16), style.color);
    }
  }
}

function treeBoxes(ctx, { kind, style, path, at }, few) {
  if (kind === 1) { // specks
    ctx.fillStyle = style.color;
    ctx.fill(path);
    return;
  }
  const width = kind === 0 ? 1 : few || (!style.hatch && at.length <= FEW) ? 2 : 1.25;
  if (kind === 2 && style.hatch) {
    ctx.save();
    ctx.globalAlpha *= 0.55;
    ctx.fillStyle = hatch(ctx, style.color, style.hatch);
    ctx.fill(path);
    ctx.restore();
  }
  if (few) {
    ctx.strokeStyle = 'rgba(0,0,0,.45)'; // a dark rim: seen on white tissue and on black sea alike
    ctx.lineWidth = width + 1.5;
    ctx.stroke(path);
  }
  if (few && kind === 2) ctx.setLineDash(style.dash || []);
  ctx.strokeStyle = style.color;
  ctx.lineWidth = width;
  ctx.stroke(path);
  ctx.setLineDash([]);
}

/** The decision that is told of, and all that it lies in. */
function markTree(ctx, view, tree) {
  if (!tree.data) return;
  for (let i = tree.current, first = true; i >= 0; i = tree.data.parents[i], first = false) {
    const [x, y, w, h] = tree.data.boxes[i];
    if (x > view.x1 || y > view.y1 || x + w < view.x0 || y + h < view.y0) continue;
    const path = new Path2D();
    clippedRect(path, view, ...view.at(x, y), Math.max(w * view.scale, 3), Math.max(h * view.scale, 3));
    for (const [style, width] of [['rgba(0,0,0,.7)', first ? 6 : 3], [view.accent, first ? 3 : 1.25]]) {
      ctx.strokeStyle = style;
      ctx.lineWidth = width;
      ctx.stroke(path);
    }
  }
}
