// The output pane: what the network receives, beside the image it was read from, and what that is
// to be judged by (even downsampling, the round trip, the zoom); hover links them all.

const [TILE_GAP, TILE_CAPTION, TILE_LEGEND] = [8, 20, 48];

class Pane {
  /** parts: {root, chips, body, lattice, foot}; host: {hover(point|null), fly(box), mark(), morph(amount)}. */
  constructor(parts, host, still) {
    this.parts = parts;
    this.host = host;
    this.still = still;
    this.tiles = new Map(); // id -> Tile or Icicle, of all views
    this.shown = []; // ids, in the order of the views
    this.lattice = false;
    this.morph = new Morph(parts.foot, (amount) => { this.redraw(); host.morph(amount); }, still);
    this.inside = {
      hover: (point, tile, at) => this._hover(point, tile, at),
      fly: (box) => host.fly(box),
      redraw: () => this.redraw(),
      even: (id) => this.tiles.get(id),
    };
    Object.defineProperty(this.inside, 'amount', { get: () => this.amount });
    Object.defineProperty(this.inside, 'lattice', { get: () => this.lattice });
    parts.lattice.addEventListener('click', () => {
      this.lattice = !this.lattice;
      parts.lattice.setAttribute('aria-pressed', String(this.lattice));
      this.redraw();
    });
    this.resize = new ResizeObserver(() => this.draw());
    this.resize.observe(parts.root);
  }

  /** How much of the warp is applied; always all of it where there is none to scrub. */
  get amount() {
    return this.parts.foot.hidden ? 1 : this.morph.amount;
  }

  get main() {
    return [...this.tiles.values()].find((t) => !t.tree);
  }

  get warp() {
    return this.main && this.main.warp;
  }

  get cross() {
    return this.main ? this.main.cross : null;
  }

  /** The tree that a view shows. */
  tree(id) {
    const tile = this.tiles.get(id);
    return tile && tile.tree;
  }

  /** How far the tree that is shown has come, for tests. */
  get told() {
    const tile = this.shown.map((id) => this.tiles.get(id)).find((t) => t.tree);
    return tile ? { step: tile.tree.step, n: tile.tree.n, hovered: tile.tree.hovered } : null;
  }

  /** What is looked at in the trees, on the image. */
  mark(ctx, view) {
    for (const [id, { tree }] of this.tiles) {
      if (tree && (this.shown.includes(id) || tree.hovered >= 0)) markTree(ctx, view, tree);
    }
  }

  /** output: one view, or {views: [...], shown: [ids]}. What the user chose stays until `shown` changes. */
  update(output) {
    this.parts.root.hidden = !output;
    const views = output ? output.views || [output] : [];
    const known = new Map();
    for (const view of views) {
      const id = view.id || view.title || 'output';
      const tile = this.tiles.get(id) || (view.kind === 'tree' ? new Icicle({ ...this.host, still: this.still }) : new Tile(this.inside));
      tile.update(view);
      known.set(id, tile);
    }
    for (const [id, tile] of this.tiles) if (!known.has(id)) tile.remove();
    this.tiles = known;
    const asked = JSON.stringify(output && output.shown);
    if (asked !== this.asked) this.shown = (output && output.shown) || [];
    this.asked = asked;
    this.shown = [...known.keys()].filter((id, k, all) => this.shown.includes(id) || (k === 0 && !all.some((other) => this.shown.includes(other))));
    this.parts.lattice.hidden = !views.some((v) => v.grid);
    this.parts.foot.hidden = !views.some((v) => v.even && v.grid && v.grid.region);
    this._chips();
    this.host.morph(this.amount);
    this.draw();
  }

  _chips() {
    const many = this.tiles.size > 1;
    const key = JSON.stringify([[...this.tiles].map(([id, t]) => [id, t.view.title]), this.shown]);
    if (key === this.chips) return;
    this.chips = key;
    this.parts.chips.replaceChildren(...[...this.tiles].map(([id, { view }]) => {
      if (!many) return h('span', { class: 'hv-pane-title', text: view.title || 'Output' });
      const chip = button(view.short || view.title || id, `Show or hide: ${view.title || id}`, () => this.toggle(id));
      chip.classList.add('hv-chip');
      chip.setAttribute('aria-pressed', String(this.shown.includes(id)));
      return chip;
    }));
    const shown = this.shown.map((id) => this.tiles.get(id));
    const pictures = shown.filter((t) => !t.tree);
    this.parts.body.replaceChildren(...pictures.map((t) => t.root));
    this.parts.body.hidden = !pictures.length;
    for (const tile of this.tiles.values()) {
      if (tile.tree && shown.includes(tile)) this.parts.root.insertBefore(tile.root, this.parts.body);
      else if (tile.tree) tile.remove();
    }
  }

  /** Show a view, or hide it; one always stays. */
  toggle(id) {
    const next = this.shown.includes(id) ? this.shown.filter((v) => v !== id) : [...this.shown, id];
    if (!next.length) return;
    this.shown = [...this.tiles.keys()].filter((v) => next.includes(v));
    this._chips();
    this.draw();
  }

  redraw() {
    if (!this.frame) this.frame = requestAnimationFrame(() => { this.frame = 0; this.draw(); });
  }

  /** Rows and columns that make the smallest picture largest; views of one size have one scale. */
  draw() {
    const shown = this.shown.map((id) => this.tiles.get(id));
    for (const tile of shown) if (tile.tree) tile.draw();
    const tiles = shown.filter((t) => !t.tree);
    const { clientWidth: w, clientHeight: h } = this.parts.body;
    if (!tiles.length || !w || !h) return;
    const legend = tiles.some((t) => t.view.map) ? TILE_LEGEND : 0;
    let best = null;
    for (let columns = 1; columns <= tiles.length; columns++) {
      const rows = Math.ceil(tiles.length / columns);
      const cell = [(w - TILE_GAP * (columns - 1)) / columns, (h - TILE_GAP * (rows - 1)) / rows - TILE_CAPTION - legend];
      const scales = tiles.map(({ view: v }) => Math.max(1 / Math.max(v.width, v.height), Math.min(cell[0] / v.width, cell[1] / v.height, 8)));
      const least = Math.min(...tiles.map(({ view: v }, k) => scales[k] * Math.hypot(v.width, v.height)));
      if (!best || least > best.least) best = { least, scales, columns };
    }
    this.parts.body.style.setProperty('--columns', best.columns);
    tiles.forEach((tile, k) => tile.draw(best.scales[k]));
  }

  /** Where a level-0 point shows up in all views. */
  point(at) {
    const before = [...this.tiles.values()].some((t) => t.cross);
    for (const [id, tile] of this.tiles) if (!tile.tree || this.shown.includes(id)) tile.point(at);
    if (before || [...this.tiles.values()].some((t) => t.cross)) this.redraw();
  }

  /** Values of the maps that are shown under a level-0 point. */
  valuesAt(point) {
    return this.shown.map((id) => this.tiles.get(id).valueAt(point)).filter(Boolean);
  }

  _hover(point, tile, at) {
    this.point(point);
    if (tile && at) tile.cross = at; // a picture that lies nowhere has its own cross
    this.draw();
    this.host.hover(point);
  }

  destroy() {
    this.resize.disconnect();
    cancelAnimationFrame(this.frame);
    this.morph.stop();
  }
}
