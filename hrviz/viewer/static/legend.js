// Legends: a colour bar with range and unit for every visible raster, swatches for classes.

function legendOf(item) {
  const { spec, raster } = item;
  if (spec.legend === false) return null;
  const named = (spec.classes || []).filter((c) => c.name);
  if (spec.kind === 'raster' && spec.lut !== 'labels') return raster.encoding ? bar(spec, raster.encoding) : null;
  if (spec.kind === 'points' && spec.values && spec.unit !== undefined) {
    return bar(spec, { vmin: spec.vmin || 0, vmax: spec.vmax === undefined ? 1 : spec.vmax });
  }
  if (spec.kind === 'tiles') {
    const levels = [...new Set(spec.rects.map((r) => r[4]))].sort((a, b) => a - b);
    const names = levels.map((l) => ({ name: `level ${l}`, color: LEVELS[l % LEVELS.length] }));
    return swatches(spec.label || 'tiles read', names);
  }
  if ((spec.kind === 'grid' || spec.kind === 'lines') && spec.label) {
    return swatches('', [{ name: spec.label, color: spec.color || MARK, line: true }]);
  }
  if (named.length) {
    const own = named.map((c) => ({ ...c, color: c.color || classColour(spec, c.value === undefined ? spec.classes.indexOf(c) : c.value) }));
    return swatches(spec.label || '', own);
  }
  return null;
}

function bar(spec, shown) {
  const [lo, hi] = spec.range || [shown.vmin, shown.vmax];
  const root = h('div', { class: 'hv-legend' });
  root.append(h('div', { class: 'hv-legend-title', text: spec.label || spec.id }));
  const canvas = h('canvas', { class: 'hv-bar', width: 160, height: 8 });
  const ctx = canvas.getContext('2d');
  const t = spec.threshold;
  for (let x = 0; x < 160; x++) {
    const value = lo + ((x + 0.5) / 160) * (hi - lo);
    ctx.globalAlpha = typeof t === 'number' && value < t ? 0.15 : 1;
    ctx.fillStyle = cssAt(spec.lut || 'viridis', (x + 0.5) / 160);
    ctx.fillRect(x, 0, 1, 8);
  }
  root.append(canvas);
  const long = spec.unit && spec.unit.length > 8; // a line of its own
  const unit = spec.unit && !long ? ` ${spec.unit}` : '';
  const middle = spec.lut === 'diverging' ? h('span', { text: tidy((lo + hi) / 2, hi - lo) }) : null;
  const ends = h('div', { class: 'hv-ends' });
  ends.append(h('span', { text: tidy(lo, hi - lo) }));
  if (middle) ends.append(middle);
  ends.append(h('span', { text: tidy(hi, hi - lo) + unit }));
  root.append(ends);
  if (long) root.append(h('div', { class: 'hv-note', text: spec.unit }));
  if (typeof t === 'number' && t > lo) root.append(h('div', { class: 'hv-note', text: `shown from ${tidy(t, hi - lo)}${unit}` }));
  return root;
}

function swatches(title, classes) {
  const root = h('div', { class: 'hv-legend' });
  if (title) root.append(h('div', { class: 'hv-legend-title', text: title }));
  for (const c of classes.slice(0, 12)) {
    const row = h('div', { class: 'hv-class' });
    const key = h('canvas', { class: 'hv-swatch', width: 28, height: 20 });
    const ctx = key.getContext('2d');
    ctx.scale(2, 2);
    if (c.line) {
      ctx.fillStyle = c.color;
      ctx.fillRect(0, 4, 14, 2);
    } else if (c.hatch) {
      ctx.fillStyle = hatch(ctx, c.color, c.hatch);
      ctx.fillRect(1, 1, 12, 8);
    } else if (c.fill || !c.dash) {
      ctx.fillStyle = `${rgbaOf(c.color, c.dash || c.fill ? 0.35 : 1)}`;
      ctx.fillRect(1, 1, 12, 8);
    }
    ctx.setLineDash(c.dash || []);
    ctx.strokeStyle = c.color;
    if (!c.line) ctx.strokeRect(1, 1, 12, 8);
    row.append(key, h('span', { text: c.name }));
    root.append(row);
  }
  if (classes.length > 12) root.append(h('div', { class: 'hv-note', text: `and ${classes.length - 12} more` }));
  return root;
}

function rgbaOf(colour, alpha) {
  return colour.startsWith('#') && colour.length === 7 ? `rgba(${rgbOf(colour).join(',')},${alpha})` : colour;
}
