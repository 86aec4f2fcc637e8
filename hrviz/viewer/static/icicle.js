// A zoom tree beside the image: depth downwards, each cell as wide as its subtree has leaves; in the
// lowest row siblings too narrow for one line lie in several. Under it what was decided, the decisions
// one by one, and what they cost.

const [ROW, NARROW, WIDE] = [72, 3, 40]; // pixels: the highest row; cells drawn alone, and in one line

class Icicle {
  /** host: {fly(box), mark(), still}. */
  constructor(host) {
    this.host = host;
    this.tree = new Tree(() => this._changed());
    this.root = h('div', { class: 'hv-tree' });
    this.stage = h('div', { class: 'hv-tree-stage' });
    this.canvas = h('canvas', { class: 'hv-icicle', tabindex: 0, role: 'img' });
    this.empty = h('div', { class: 'hv-tree-empty', text: 'No decision yet: nothing was looked at.' });
    this.stage.append(this.canvas, this.empty);
    this.said = h('button', { type: 'button', class: 'hv-tree-said', title: 'Fly there' });
    this.said.addEventListener('click', () => this._fly(this.tree.current));
    this.scrub = new Scrub({
      most: 1, step: 1, still: host.still, lasts: () => clamp(300 * this.tree.n, 1500, 20000),
      changed: (value) => this.tree.go(Math.round(value)), title: 'Play the decisions', label: 'Decisions made',
    });
    this.count = h('span', { class: 'hv-tree-count' });
    this.steps = h('div', { class: 'hv-tree-steps' });
    const by = (d) => () => { this.scrub.stop(); this.tree.go(this.tree.step + d); };
    this.steps.append(this.scrub.play, button('back', 'One decision back', by(-1)), this.scrub.bar, button('next', 'Next decision', by(1)), this.count);
    this.sums = h('div', { class: 'hv-tree-totals' });
    this.root.append(this.stage, this.said, this.steps, this.sums);
    this.canvas.addEventListener('pointermove', (e) => this.tree.hover(this._at(e)));
    this.canvas.addEventListener('pointerleave', () => this.tree.hover(-1));
    this.canvas.addEventListener('click', (e) => this._fly(this._at(e)));
    this.canvas.addEventListener('dblclick', () => this._range(0, 1));
    this.canvas.addEventListener('wheel', (e) => this._zoom(e), { passive: false });
    this.canvas.addEventListener('keydown', (e) => this._key(e));
    this.range = [0, 1]; // the part of the tree's width that is shown
  }

  update(view) {
    this.view = view;
    this.tree.update(view.tree);
    this.canvas.setAttribute('aria-label', `Tree of ${this.tree.n} decisions: arrow keys step, Enter flies there`);
    this.empty.hidden = this.tree.n > 0;
    this.canvas.hidden = this.steps.hidden = this.tree.n === 0;
    this.scrub.most = this.scrub.bar.max = Math.max(this.tree.n, 1);
    this._changed();
  }

  // -- as the pane's pictures ------------------------------------------------------------------
  point(at) {
    this.tree.point(at);
  }

  valueAt() {
    return null; // the boxes on the image tell it
  }

  remove() {
    this.scrub.stop();
    cancelAnimationFrame(this.frame);
    this.root.remove();
  }

  // -- drawing ---------------------------------------------------------------------------------
  _changed() {
    if (!this.frame) this.frame = requestAnimationFrame(() => { this.frame = 0; this.draw(); });
    this.host.mark();
  }

  draw() {
    const { tree, canvas } = this;
    const { clientWidth: w, clientHeight: hh } = this.stage;
    if (!tree.data || !w || !hh) return;
    this._tell();
    const ratio = window.devicePixelRatio || 1;
    const [pw, ph] = [Math.round(w * ratio), Math.round(hh * ratio)];
    if (canvas.width !== pw || canvas.height !== ph) [canvas.width, canvas.height] = [pw, ph];
    const ctx = canvas.getContext('2d');
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, w, hh);
    const look = getComputedStyle(this.root);
    const ink = look.getPropertyValue('--text');
    this.row = Math.min(ROW, hh / Math.max(tree.depths + 1, 2));
    this.lowest = hh - (tree.depths - 1) * this.row;
    this.scale = w / ((this.range[1] - this.range[0]) * tree.leaves);
    const groups = new Map(); // style and whether it is made: cells of one look are one path
    const names = [];
    const last = new Map(); // the last narrow cell of each row: those after it in its column merge
    for (let i = 0; i < tree.n; i++) {
      const [l, t, cw, ch] = this._cell(i);
      if (l > w || l + cw < 0) continue;
      const made = i < tree.step;
      if (cw < NARROW) {
        const column = Math.floor(l / NARROW);
        if (made && last.get(t) === column) continue;
        if (made) last.set(t, column);
      }
      const key = `${tree.data.colors[i]}|${made}|${cw < NARROW}`;
      if (!groups.has(key)) groups.set(key, { style: tree.style(i), made, narrow: cw < NARROW, path: new Path2D() });
      const gap = cw < NARROW ? 0 : 1;
      groups.get(key).path.rect(l, t, Math.max(cw, cw < NARROW ? NARROW : 1) - gap, ch - 1);
      if (made && cw > 16 && ch > 15 && names.length < 400) names.push([i, l, t, cw, ch]);
    }
    for (const group of groups.values()) this._cells(ctx, group);
    this._names(ctx, names, ink);
    this._marks(ctx, ink, look.getPropertyValue('--accent'));
  }

  /** Left, top, width and height of a node's cell on the canvas. */
  _cell(i) {
    const { data, depths, leaves } = this.tree;
    const [left, right, depth] = data.cells[i];
    const origin = this.range[0] * leaves;
    const top = depth * this.row;
    if (depth < depths - 1) return [(left - origin) * this.scale, top, (right - left) * this.scale, this.row];
    const p = data.parents[i];
    const [start, end] = p < 0 ? [0, leaves] : data.cells[p];
    const n = end - start;
    const wide = n * this.scale;
    const columns = this.scale >= WIDE ? n : clamp(Math.ceil(Math.sqrt((n * wide) / this.lowest)), 1, n);
    const lines = Math.ceil(n / columns);
    const high = Math.min(ROW, this.lowest / lines);
    const [k, cw] = [left - start, wide / columns];
    return [(start - origin) * this.scale + (k % columns) * cw, top + Math.floor(k / columns) * high, cw, high];
  }

  _cells(ctx, { style, made, narrow, path }) {
    ctx.save();
    const dim = made ? 1 : 0.16;
    ctx.globalAlpha = dim * (style.hatch && !narrow ? 0.28 : 0.72);
    ctx.fillStyle = style.color;
    ctx.fill(path);
    if (style.hatch && !narrow) {
      ctx.globalAlpha = 0.7 * dim;
      ctx.fillStyle = hatch(ctx, style.color, style.hatch);
      ctx.fill(path);
    }
    ctx.restore();
  }

  _names(ctx, names, ink) {
    ctx.font = '11px system-ui, sans-serif';
    ctx.textBaseline = 'middle';
    ctx.textAlign = 'center';
    for (const [i, l, t, cw, ch] of names) {
      const text = this.tree.text(i, true);
      const wide = text ? ctx.measureText(text).width : 0;
      if (!text || wide + 2 > cw) continue;
      const x = clamp(l + cw / 2, wide / 2 + 2, this.stage.clientWidth - wide / 2 - 2);
      ctx.fillStyle = 'rgba(16,18,20,.78)';
      ctx.fillRect(x - wide / 2 - 2, t + ch / 2 - 8, wide + 4, 15);
      ctx.fillStyle = '#f2f4f6';
      ctx.fillText(text, x, t + ch / 2);
    }
    ctx.fillStyle = ink;
  }

  /** The decision that is told of, and all above it. */
  _marks(ctx, ink, accent) {
    const { tree } = this;
    for (let i = tree.current, first = true; i >= 0; i = tree.data.parents[i], first = false) {
      const [l, t, cw, ch] = this._cell(i);
      ctx.strokeStyle = first ? ink : accent;
      ctx.lineWidth = first ? 2 : 1.5;
      ctx.strokeRect(l + 0.5, t + 0.5, Math.max(cw - 2, 2), ch - 2);
    }
  }

  _tell() {
    const { tree } = this;
    const i = tree.current;
    const named = i >= 0 ? tree.style(i).name : tree.n ? `${thin(tree.n)} decision${tree.n === 1 ? '' : 's'}` : '';
    const key = `${i}|${tree.step}|${tree.n}|${tree.data.source}`;
    if (key === this.told && i < 0) return;
    this.told = key;
    this.said.disabled = i < 0;
    const words = h('span', {}); // cut to whole lines
    words.append(h('i', { style: i >= 0 ? `background:${tree.style(i).color}` : 'display:none' }),
      h('b', { text: named }), document.createTextNode(` ${i >= 0 ? tree.facts(i) : tree.summary()}`));
    this.said.replaceChildren(words);
    if (Math.round(this.scrub.value) !== tree.step) this.scrub.set(tree.step, true);
    this.count.textContent = `${thin(tree.step)} / ${thin(tree.n)}`;
    this.sums.replaceChildren(...tree.totals().map(([value, unit]) => {
      const part = h('span', {});
      part.append(h('b', { text: value }), document.createTextNode(` ${unit}`));
      return part;
    }));
  }

  // -- what the user does ----------------------------------------------------------------------
  /** The node under the pointer, -1 beside all. */
  _at(event) {
    const r = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - r.left, event.clientY - r.top];
    return this.tree.data.cells.findIndex((_, i) => {
      const [l, t, w, hh] = this._cell(i);
      return x >= l && x < l + w && y >= t && y < t + hh;
    });
  }

  _fly(i) {
    if (i < 0) return;
    const [x, y, w, hh] = this.tree.data.boxes[i];
    const around = 0.12 * Math.max(w, hh);
    this.host.fly({ x: x - around, y: y - around, w: w + 2 * around, h: hh + 2 * around });
  }

  _zoom(event) {
    event.preventDefault();
    const [from, to] = this.range;
    const r = this.canvas.getBoundingClientRect();
    const at = from + ((event.clientX - r.left) / r.width) * (to - from);
    const factor = Math.exp(clamp(event.deltaY, -100, 100) / 300);
    const side = clamp((to - from) * factor, Math.min(1, 4 / this.tree.leaves), 1);
    const start = clamp(at - ((at - from) / (to - from)) * side, 0, 1 - side);
    this._range(start, start + side);
  }

  _range(from, to) {
    this.range = [from, to];
    this._changed();
  }

  _key(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by) {
      this.scrub.stop();
      this.tree.go(this.tree.step + by);
    } else if (event.key === 'Enter') this._fly(this.tree.current);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
