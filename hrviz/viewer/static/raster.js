// Index rasters: 8-bit pictures decoded once and coloured here, whole (PNG) or tiled (map).

async function blobOf(url, signal) {
  if (url.startsWith('data:')) {
    const [head, body] = [url.slice(5, url.indexOf(',')), url.slice(url.indexOf(',') + 1)];
    const bytes = Uint8Array.from(atob(body), (ch) => ch.charCodeAt(0));
    return new Blob([bytes], { type: head.split(';')[0] });
  }
  return fetchImage(url, signal);
}

/** A picture from the server. An unknown address may answer a page with status 200: not a picture. */
async function fetchImage(url, signal) {
  let answer;
  try {
    answer = await fetch(url, { signal });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Error('The server does not answer: check that the app is still running.');
  }
  const type = answer.headers.get('content-type') || '';
  if (!answer.ok) {
    const text = type.startsWith('text/plain') ? (await answer.text()).slice(0, 200) : '';
    throw new Error(text || `The server answered ${answer.status} for a tile: reload the page.`);
  }
  if (!type.startsWith('image/')) {
    throw new Error('The tile address does not lead to an image: the app was started without the hrviz routes.');
  }
  return answer.blob();
}

/** Grey PNG to {index, w, h}: the indices exactly as written. */
async function decodeIndex(blob) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: 'none', premultiplyAlpha: 'none' });
  const [w, h] = [bitmap.width, bitmap.height];
  const canvas = new OffscreenCanvas(w, h);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const rgba = context.getImageData(0, 0, w, h).data;
  const index = new Uint8Array(w * h);
  for (let i = 0, k = 0; i < index.length; i++, k += 4) index[i] = rgba[k];
  return { index, w, h };
}

/** Colours `piece` through the table into its canvas, only when the table changed. */
function paint(piece, table, stamp) {
  if (piece.stamp === stamp) return piece.canvas;
  const pixels = new Uint32Array(piece.index.length);
  for (let i = 0; i < pixels.length; i++) pixels[i] = table[piece.index[i]];
  piece.canvas = piece.canvas || new OffscreenCanvas(piece.w, piece.h);
  const image = new ImageData(new Uint8ClampedArray(pixels.buffer), piece.w, piece.h);
  piece.canvas.getContext('2d').putImageData(image, 0, 0);
  piece.stamp = stamp;
  return piece.canvas;
}

/** Draws the part of `canvas` that lies on screen; the whole would be millions of pixels deep in. */
function drawWindow(ctx, view, canvas, box) {
  const [sx, sy] = [canvas.width / box.w, canvas.height / box.h];
  const x0 = clamp(Math.floor((view.x0 - box.x) * sx) - 1, 0, canvas.width);
  const x1 = clamp(Math.ceil((view.x1 - box.x) * sx) + 1, 0, canvas.width);
  const y0 = clamp(Math.floor((view.y0 - box.y) * sy) - 1, 0, canvas.height);
  const y1 = clamp(Math.ceil((view.y1 - box.y) * sy) + 1, 0, canvas.height);
  if (x1 <= x0 || y1 <= y0) return;
  const [left, top] = view.at(box.x + x0 / sx, box.y + y0 / sy);
  const [right, bottom] = view.at(box.x + x1 / sx, box.y + y1 / sy);
  ctx.drawImage(canvas, x0, y0, x1 - x0, y1 - y0, left, top, right - left, bottom - top);
}

let STAMP = 0;

/** A raster overlay: {png, box, vmin, vmax} or {map: {...}}; the old picture stays until the new is decoded. */
class Raster {
  constructor(host) {
    this.host = host; // {redraw, fail, requestMap?}
    this.spec = {};
    this.shown = null; // {piece, box, vmin, vmax} of the decoded PNG
    this.tiles = null;
    this.source = null;
  }

  update(spec) {
    this.spec = spec;
    if (spec.map) {
      this.shown = null;
      this.source = null;
      if (!this.tiles) this.tiles = new TiledRaster(this.host);
      this.tiles.update(spec.map);
    } else if (spec.png && spec.png !== this.source) {
      this.source = spec.png;
      this._decode(spec);
    } else if (this.shown) {
      Object.assign(this.shown, { box: spec.box, vmin: spec.vmin, vmax: spec.vmax });
    }
    this._recolour();
  }

  async _decode(spec) {
    try {
      const piece = await decodeIndex(await blobOf(spec.png));
      if (this.source !== spec.png) return; // a newer one is on its way
      const { box, vmin, vmax } = this.spec;
      this.shown = { piece, box, vmin, vmax };
      if (this.tiles) this.tiles.destroy();
      this.tiles = null;
      this._recolour();
      this.host.redraw();
    } catch (error) {
      if (this.source === spec.png) this.host.fail(`The layer ${this.spec.label || this.spec.id} could not be read: ${error.message}`);
    }
  }

  get encoding() {
    return this.tiles ? this.tiles.map : this.shown;
  }

  _recolour() {
    const shown = this.encoding;
    if (!shown) return;
    const { lut, threshold, range, classes, background } = this.spec;
    const key = JSON.stringify([lut, threshold, range, classes, background, shown.vmin, shown.vmax]);
    if (key === this.key) return;
    this.key = key;
    this.table = lookup(this.spec, shown);
    this.stamp = ++STAMP;
  }

  draw(ctx, view) {
    if (!this.encoding) return;
    ctx.imageSmoothingEnabled = Boolean(this.spec.smooth) && this.spec.lut !== 'labels';
    ctx.imageSmoothingQuality = 'high';
    if (this.tiles) this.tiles.draw(ctx, view, this.table, this.stamp);
    else drawWindow(ctx, view, paint(this.shown.piece, this.table, this.stamp), this.shown.box);
  }

  /** Raw value under a level-0 point: a number, NaN for no data, undefined outside. */
  valueAt(x, y) {
    if (this.tiles) return this.tiles.valueAt(x, y);
    if (!this.shown) return undefined;
    const { piece, box } = this.shown;
    const i = Math.floor(((x - box.x) / box.w) * piece.w);
    const j = Math.floor(((y - box.y) / box.h) * piece.h);
    if (i < 0 || j < 0 || i >= piece.w || j >= piece.h) return undefined;
    return valueOf(piece.index[j * piece.w + i], this.shown);
  }

  destroy() {
    if (this.tiles) this.tiles.destroy();
    this.source = null;
  }
}

const AT_ONCE = 6; // a browser opens six connections to a server
const KEPT = 384; // tiles of 64 KiB of indices and 256 KiB of colours

/** Visible tiles of the right level, newest wanted first; coarser or older ones stand in meanwhile. */
class TiledRaster {
  constructor(host) {
    this.host = host;
    this.map = null;
    this.kept = new Map(); // 'z/x_y' -> piece with .version; least recently drawn first
    this.running = new Map(); // 'z/x_y' -> AbortController
    this.failed = new Set();
    this.wanted = [];
  }

  update(map) {
    const same = this.map && ['width', 'height', 'tile'].every((k) => this.map[k] === map[k]);
    if (!same) this.kept.clear();
    if (!this.map || this.map.url !== map.url) {
      this.running.forEach((c) => c.abort());
      this.running.clear();
      this.failed.clear();
    }
    this.map = map;
  }

  draw(ctx, view, table, stamp) {
    const m = this.map;
    const [sx, sy] = [m.width / m.box.w, m.height / m.box.h]; // map pixels per level-0 pixel
    const perScreen = sx / view.scale; // map pixels per screen pixel
    const z = clamp(Math.floor(m.maxLevel - Math.log2(Math.max(perScreen, 1e-9)) + 0.5), 0, m.maxLevel);
    const step = m.tile * 2 ** (m.maxLevel - z);
    const c0 = clamp(Math.floor(((view.x0 - m.box.x) * sx) / step), 0, Math.ceil(m.width / step) - 1);
    const c1 = clamp(Math.floor(((view.x1 - m.box.x) * sx) / step), 0, Math.ceil(m.width / step) - 1);
    const r0 = clamp(Math.floor(((view.y0 - m.box.y) * sy) / step), 0, Math.ceil(m.height / step) - 1);
    const r1 = clamp(Math.floor(((view.y1 - m.box.y) * sy) / step), 0, Math.ceil(m.height / step) - 1);
    const wanted = [];
    for (let y = r0; y <= r1; y++) {
      for (let x = c0; x <= c1; x++) {
        const key = `${z}/${x}_${y}`;
        const piece = this.kept.get(key);
        if (!piece || piece.url !== m.url) wanted.push(key);
        // a stand-in is clipped to this tile, so that translucent tiles never lie on each other
        this._drawTile(ctx, view, z, x, y, step, table, stamp);
      }
    }
    if (!this.kept.has('0/0_0') && !wanted.includes('0/0_0')) wanted.push('0/0_0');
    this.wanted = wanted;
    this._pump();
  }

  _drawTile(ctx, view, z, x, y, step, table, stamp) {
    const m = this.map;
    for (let up = 0; up <= z; up++) {
      const key = `${z - up}/${x >> up}_${y >> up}`;
      const piece = this.kept.get(key);
      if (!piece) continue;
      this.kept.delete(key);
      this.kept.set(key, piece);
      const [ux, uy] = [m.box.w / m.width, m.box.h / m.height];
      const rect = (tx, ty, s) => ({
        x: m.box.x + tx * s * ux,
        y: m.box.y + ty * s * uy,
        w: (Math.min((tx + 1) * s, m.width) - tx * s) * ux,
        h: (Math.min((ty + 1) * s, m.height) - ty * s) * uy,
      });
      const own = rect(x, y, step);
      ctx.save();
      const [l, t] = view.at(own.x, own.y);
      const [r, b] = view.at(own.x + own.w, own.y + own.h);
      ctx.beginPath();
      ctx.rect(Math.round(l), Math.round(t), Math.round(r) - Math.round(l), Math.round(b) - Math.round(t));
      ctx.clip();
      drawWindow(ctx, view, paint(piece, table, stamp), rect(x >> up, y >> up, step * 2 ** up));
      ctx.restore();
      return;
    }
  }

  _pump() {
    for (const [key, controller] of this.running) {
      if (!this.wanted.includes(key)) {
        controller.abort();
        this.running.delete(key);
      }
    }
    for (let i = this.wanted.length - 1; i >= 0 && this.running.size < AT_ONCE; i--) {
      const key = this.wanted[i];
      if (!this.running.has(key) && !this.failed.has(key)) this._load(key);
    }
  }

  async _load(key) {
    const m = this.map;
    const controller = new AbortController();
    this.running.set(key, controller);
    try {
      const ask = this.host.requestMap;
      const blob = await (ask ? ask(m, key, controller.signal) : fetchImage(`${m.url}/${key}.png`, controller.signal));
      const piece = await decodeIndex(blob);
      if (controller.signal.aborted) return;
      piece.url = m.url;
      this.kept.delete(key);
      this.kept.set(key, piece);
      for (const old of this.kept.keys()) {
        if (this.kept.size <= KEPT) break;
        if (old !== '0/0_0') this.kept.delete(old);
      }
    } catch (error) {
      if (!controller.signal.aborted) {
        this.failed.add(key);
        this.host.fail(error.message);
      }
    } finally {
      if (this.running.get(key) === controller) this.running.delete(key);
      if (!controller.signal.aborted) this.host.redraw();
    }
  }

  valueAt(x, y) {
    const m = this.map;
    const i = Math.floor(((x - m.box.x) / m.box.w) * m.width);
    const j = Math.floor(((y - m.box.y) / m.box.h) * m.height);
    if (i < 0 || j < 0 || i >= m.width || j >= m.height) return undefined;
    for (let z = m.maxLevel; z >= 0; z--) {
      const d = 2 ** (m.maxLevel - z);
      const [tx, ty] = [Math.floor(i / d / m.tile), Math.floor(j / d / m.tile)];
      const piece = this.kept.get(`${z}/${tx}_${ty}`);
      if (piece) {
        const px = Math.min(Math.floor(i / d) - tx * m.tile, piece.w - 1);
        const py = Math.min(Math.floor(j / d) - ty * m.tile, piece.h - 1);
        return valueOf(piece.index[py * piece.w + px], m);
      }
    }
    return undefined;
  }

  destroy() {
    this.running.forEach((c) => c.abort());
    this.running.clear();
    this.kept.clear();
    this.wanted = [];
  }
}
