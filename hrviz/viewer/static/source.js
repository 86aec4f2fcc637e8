// The tile source: power-of-two levels, fetched with a content-type check or asked from the model.

/** At most `limit` at once; the newest frame's tiles first, within a frame in OpenSeadragon's order. */
class TileQueue {
  constructor(limit) {
    this.limit = limit;
    this.running = 0;
    this.waiting = [];
    this.frame = 0;
    this.open = false;
  }

  /** Runs `task` (a function returning a promise) when its turn comes; returns a cancel function. */
  add(task) {
    if (!this.open) {
      this.open = true;
      this.frame++;
      requestAnimationFrame(() => { this.open = false; });
    }
    const entry = { task, frame: this.frame };
    this.waiting.push(entry);
    queueMicrotask(() => this._next());
    return () => {
      const at = this.waiting.indexOf(entry);
      if (at >= 0) this.waiting.splice(at, 1);
    };
  }

  _next() {
    while (this.running < this.limit && this.waiting.length) {
      let best = 0;
      this.waiting.forEach((e, i) => { if (e.frame > this.waiting[best].frame) best = i; });
      const [entry] = this.waiting.splice(best, 1);
      this.running++;
      entry.task().finally(() => {
        this.running--;
        this._next();
      });
    }
  }
}

/** watch: {start, end, fail} for the loading line and the error message. */
function tileSource(image, model, watch) {
  const queue = new TileQueue(model.requestTile ? 8 : 6);
  const ask = model.requestTile
    ? (job, signal) => model.requestTile(job.tile.level, job.tile.x, job.tile.y, signal)
    : (job, signal) => fetchImage(job.src, signal);
  return {
    width: image.width,
    height: image.height,
    tileOverlap: 0,
    minLevel: 0,
    maxLevel: image.maxLevel,
    // the file's own levels and tile grids: [downsample, tile width, tile height, columns, rows]
    getLevelScale: (z) => 1 / image.levels[z][0],
    getTileWidth: (z) => image.levels[z][1],
    getTileHeight: (z) => image.levels[z][2],
    getNumTiles: (z) => new OSD.Point(image.levels[z][3], image.levels[z][4]),
    getTileUrl: (z, x, y) => `${image.url}/${z}/${x}_${y}.jpg`,
    hasTransparency: () => false,
    downloadTileStart(job) {
      const controller = new AbortController();
      const { signal } = controller;
      watch.start();
      const done = () => {
        if (!job.userData.done) watch.end();
        job.userData.done = true;
      };
      const cancel = queue.add(async () => {
        try {
          const blob = await ask(job, signal);
          const bitmap = await createImageBitmap(blob, { colorSpaceConversion: 'none' });
          if (!signal.aborted) job.finish(bitmap, null, 'imageBitmap');
        } catch (error) {
          if (signal.aborted) return;
          const text = error.name === 'InvalidStateError' ? 'A tile arrived damaged.' : error.message;
          watch.fail(text);
          job.fail(text, null);
        } finally {
          done();
        }
      });
      job.userData.abort = () => {
        cancel();
        controller.abort();
        done();
      };
    },
    downloadTileAbort(job) {
      if (job.userData.abort) job.userData.abort();
    },
  };
}
