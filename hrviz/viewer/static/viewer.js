// `mount(element, model)`: the viewer. `model.set(name, value)` gets what the user did.

const ZOOM_STEP = 1.6;
const MOST = 16; // screen pixels a level-0 pixel, at the closest

/**
 * Parameters: `element` (or shadow root) to fill; `model` with `set(name, value)` and, where tiles do
 * not come over HTTP, `requestTile(z, x, y, signal)` and `requestMap(map, 'z/x_y', signal)` -> Blob.
 * Returns a handle: `update(data)`, `destroy()`, and for tests `imageToScreen(x, y)`, `state()`.
 */
export function mount(element, model) {
  const still = window.matchMedia('(prefers-reduced-motion: reduce)').matches;
  let data = {};
  let image = null; // the address of the open image; its url may be renewed in place
  let viewer = null;
  let hover = null; // level-0 point under the pointer
  let cross = null; // level-0 point under the pointer in the output
  let atHome = true;
  let target = null; // the box flown to, until the user moves: kept in view when the stage is resized
  let loading = 0;
  let failed = 0;
  let flown; // the last viewport_version
  let seen = { drawings: '', viewport: '', image: '' };
  let timer = 0;
  let frame = 0;

  const p = skeleton({
    home: () => goHome(),
    zoomIn: () => zoomBy(ZOOM_STEP),
    zoomOut: () => zoomBy(1 / ZOOM_STEP),
    full: fullPage,
    layers: toggleLayers,
    clear: () => drawing && drawing.clear(),
    retry,
  });
  const style = document.createElement('style');
  style.textContent = CSS;
  element.append(style, p.root);

  const overlays = new Overlays(p.overlay, {
    redraw,
    fail: complain,
    requestMap: model.requestMap,
    tree: (view) => pane.tree(view),
  });
  const pane = new Pane(
    { root: p.pane, chips: p.chips, body: p.tiles, lattice: p.lattice, foot: p.foot },
    {
      hover: (point) => { cross = point; redraw(); if (point) where(point); else where(hover); },
      fly: (box) => fly(box),
      mark: redraw,
      morph: (amount) => { if (overlays.amount !== amount) { overlays.amount = amount; redraw(); } },
    },
    still,
  );
  let drawing = null;

  const described = () =>
    `${image.name || 'Image'}, ${image.width} by ${image.height} pixels: drag or arrows pan, wheel or plus and minus zoom, 0 shows all, O shows or hides overlays`;

  function open() {
    if (viewer) viewer.destroy();
    viewer = null;
    p.image.replaceChildren();
    p.mini.replaceChildren();
    p.stage.insertBefore(p.mini, p.legends); // a viewer that ends takes it away
    complain(null);
    loading = 0;
    sizeMini();
    smooth = true;
    viewer = new OSD.Viewer({
      element: p.image,
      drawer: data.drawer || ['webgl', 'canvas'],
      navigatorDrawer: ['canvas'],
      tileSources: tileSource(image, model, { start, end, fail: complain }),
      showNavigationControl: false,
      showNavigator: true,
      navigatorElement: p.mini,
      navigatorAutoFade: false,
      navigatorRotate: false,
      navigatorBackground: 'transparent',
      navigatorOpacity: 1,
      navigatorBorderColor: 'transparent',
      navigatorDisplayRegionColor: MARK,
      keyboardNavEnabled: false,
      maxTilesPerFrame: 20,
      maxImageCacheCount: 1000,
      timeout: 120000,
      minZoomImageRatio: 0.7,
      maxZoomPixelRatio: MOST,
      smoothTileEdgesMinZoom: Infinity,
      visibilityRatio: 0.3,
      animationTime: still ? 0 : 0.3,
      springStiffness: 8,
      blendTime: 0,
      zoomPerScroll: 1.3,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true, flickEnabled: false },
      gestureSettingsPen: { clickToZoom: false, dblClickToZoom: true },
    });
    viewer.canvas.setAttribute('role', 'application');
    viewer.canvas.setAttribute('aria-label', described());
    viewer.addHandler('open', () => {
      viewer.viewport.goHome(true);
      atHome = true;
      flyIfAsked(true);
      draw();
    });
    viewer.addHandler('update-viewport', draw);
    viewer.addHandler('animation-finish', () => report());
    // after OpenSeadragon has set bounds of its own, which it does when the event has been told
    viewer.addHandler('after-resize', () => queueMicrotask(() => {
      if (!ready()) return;
      sizeMini();
      if (atHome) viewer.viewport.goHome(true);
      else if (target) fit(target, true);
      redraw();
    }));
    for (const name of ['canvas-drag', 'canvas-scroll', 'canvas-pinch', 'canvas-double-click']) {
      viewer.addHandler(name, () => { atHome = false; target = null; });
    }
    viewer.navigator.addHandler('navigator-click', () => { atHome = false; target = null; });
    viewer.addHandler('canvas-click', (e) => {
      if (!e.quick) return;
      const [x, y] = toImage(e.position);
      if (drawing.removeAt(x, y)) e.preventDefaultAction = true;
      else if (x >= 0 && y >= 0 && x < image.width && y < image.height) {
        model.set('click', { x: Math.round(x * 10) / 10, y: Math.round(y * 10) / 10 });
      }
    });
    drawing = new Drawing(viewer, {
      toImage,
      scale: () => view().scale,
      redraw: () => { p.clear.hidden = !drawing || drawing.count === 0; redraw(); },
      changed: (value) => model.set('drawings', value),
    });
  }

  /**
   * Another picture of the same series and size (a frame, other channels, another seed): its tiles
   * come over the old ones, which go when the new picture is whole. Nothing flickers or moves.
   */
  function replace() {
    complain(null);
    viewer.addTiledImage({
      tileSource: tileSource(image, model, { start, end, fail: complain }),
      success: ({ item }) => {
        const settled = () => {
          if (!item.getFullyLoaded()) return;
          const at = viewer.world.getIndexOfItem(item);
          for (let k = 0; k < at; k++) viewer.world.removeItem(viewer.world.getItemAt(0));
        };
        item.addHandler('fully-loaded-change', settled);
        settled();
        // faster than tiles can come: the one that has waited longest stays as the ground
        while (viewer.world.getItemCount() > 3) viewer.world.removeItem(viewer.world.getItemAt(1));
        viewer.canvas.setAttribute('aria-label', described());
        redraw();
      },
    });
  }

  // -- coordinates -----------------------------------------------------------------------------
  /** What is on screen: scale (screen px a level-0 px), visible level-0 rectangle, `at(x, y)`. */
  function view() {
    const size = viewer.viewport.getContainerSize();
    const b = viewer.viewport.getBoundsNoRotate(true);
    const scale = size.x / (b.width * image.width);
    const [x0, y0] = [b.x * image.width, b.y * image.width];
    return {
      scale, x0, y0, w: size.x, h: size.y, x1: x0 + size.x / scale, y1: y0 + size.y / scale,
      accent: MARK,
      at: (x, y) => [(x - x0) * scale, (y - y0) * scale],
    };
  }

  function toImage(position) {
    const v = view();
    return [v.x0 + position.x / v.scale, v.y0 + position.y / v.scale];
  }

  const ready = () => viewer && viewer.viewport && viewer.world.getItemCount() > 0;

  // -- drawing ---------------------------------------------------------------------------------
  function redraw() {
    if (!frame) frame = requestAnimationFrame(() => { frame = 0; draw(); });
  }

  let chrome = '';
  let smooth = true;
  function draw() {
    if (!ready()) return;
    const v = view();
    if (!(v.w > 0 && v.h > 0)) return;
    if (smooth !== v.scale < 3) { // closer than that, pixels are shown as pixels
      smooth = v.scale < 3;
      viewer.drawer.setImageSmoothingEnabled(smooth);
    }
    overlays.draw(v, (ctx) => {
      pane.mark(ctx, v);
      if (drawing) drawing.draw(ctx, v);
      if (cross) crosshair(ctx, ...v.at(...cross), MARK);
    });
    const bar = scaleBar(v.scale, image.pixel_size);
    const text = zoomText(v.scale, image.pixel_size);
    if (chrome !== text + bar.text + bar.px) {
      chrome = text + bar.text + bar.px;
      p.scale.style.setProperty('--length', `${bar.px}px`);
      p.scale.textContent = bar.text;
      p.zoom.textContent = text;
    }
    legends();
  }

  let shownLegends = '';
  function legends() {
    const items = overlays.hidden ? [] : overlays.visible;
    const key = JSON.stringify(items.map(({ spec: s, raster }) => [
      s.id, s.kind, s.label, s.unit, s.lut, s.range, s.threshold, s.classes, s.legend, s.vmin, s.vmax, Boolean(raster && raster.encoding),
      s.kind === 'tiles' ? s.rects.length : 0,
    ]));
    if (key === shownLegends) return;
    shownLegends = key;
    p.legends.replaceChildren(...items.map(legendOf).filter(Boolean));
  }

  function where(point) {
    tellWhere(p.where, point, image, (x, y) => [...overlays.valuesAt(x, y), ...pane.valuesAt(point)]);
  }

  function start() {
    loading++;
    p.progress.classList.add('hv-busy');
  }

  function end() {
    loading = Math.max(0, loading - 1);
    if (loading === 0) p.progress.classList.remove('hv-busy');
  }

  function complain(text) {
    failed = text ? failed + 1 : 0;
    p.message.hidden = !text;
    p.messageText.textContent = text || '';
  }

  function retry() {
    complain(null);
    for (let k = 0; ready() && k < viewer.world.getItemCount(); k++) viewer.world.getItemAt(k).reset();
    for (const { raster } of overlays.items.values()) if (raster && raster.tiles) raster.tiles.failed.clear();
    redraw();
  }

  // -- moving ----------------------------------------------------------------------------------
  function goHome() {
    if (!ready()) return;
    viewer.viewport.goHome(still);
    atHome = true;
    target = null;
  }

  function zoomBy(factor) {
    if (!ready()) return;
    atHome = false;
    target = null;
    viewer.viewport.zoomBy(factor, undefined, still);
    viewer.viewport.applyConstraints(still);
  }

  function panBy(dx, dy) {
    if (!ready()) return;
    atHome = false;
    target = null;
    const v = view();
    viewer.viewport.panBy(new OSD.Point((dx * v.w) / v.scale / image.width, (dy * v.h) / v.scale / image.width), still);
    viewer.viewport.applyConstraints(still);
  }

  function fly(box, now) {
    if (!ready()) return;
    atHome = false;
    target = box;
    fit(box, now || still);
  }

  function fit(box, now) {
    const s = 1 / image.width;
    viewer.viewport.fitBounds(new OSD.Rect(box.x * s, box.y * s, box.w * s, box.h * s), now);
    if (now) report();
  }

  function flyIfAsked(now) {
    if (data.viewport && data.viewport_version !== flown) {
      if (!ready()) return;
      flown = data.viewport_version;
      fly(data.viewport, now);
    }
  }

  /** Tells the model what is visible: rounded, inside the image, after 300 ms of rest, only if changed. */
  function report() {
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (!ready()) return;
      const v = view();
      const x = Math.round(clamp(v.x0, 0, image.width));
      const y = Math.round(clamp(v.y0, 0, image.height));
      const w = Math.round(clamp(v.x1, 0, image.width)) - x;
      const t = Math.round(clamp(v.y1, 0, image.height)) - y;
      if (w < 1 || t < 1) return;
      const box = { x, y, w, h: t };
      const text = JSON.stringify(box);
      const whole = JSON.stringify({ x: 0, y: 0, w: image.width, h: image.height });
      if (text === seen.viewport || (!seen.viewport && text === whole)) return;
      seen.viewport = text;
      model.set('viewport', box);
    }, 300);
  }

  function toggleLayers() {
    overlays.hidden = !overlays.hidden;
    p.layers.setAttribute('aria-pressed', String(!overlays.hidden));
    redraw();
  }

  function fullPage() {
    if (document.fullscreenElement) document.exitFullscreen();
    else if (p.root.requestFullscreen) p.root.requestFullscreen().catch(() => p.root.classList.toggle('hv-full'));
    else p.root.classList.toggle('hv-full');
  }

  const KEYS = {
    ArrowLeft: () => panBy(-0.15, 0), ArrowRight: () => panBy(0.15, 0),
    ArrowUp: () => panBy(0, -0.15), ArrowDown: () => panBy(0, 0.15),
    '+': () => zoomBy(ZOOM_STEP), '=': () => zoomBy(ZOOM_STEP), '-': () => zoomBy(1 / ZOOM_STEP),
    0: goHome, o: toggleLayers, O: toggleLayers,
  };

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.type === 'range') return; // it has its own keys
    if (event.key === 'Escape') {
      if (drawing && drawing.cancel()) event.stopPropagation();
      else p.root.classList.remove('hv-full');
      return;
    }
    if (!KEYS[event.key]) return;
    KEYS[event.key]();
    event.preventDefault();
    event.stopPropagation();
  }
  p.root.addEventListener('keydown', onKey);
  // the focus frame is for the keyboard: OpenSeadragon focuses by script, which browsers cannot tell
  p.root.addEventListener('keyup', (event) => { if (event.key !== 'Shift') p.root.classList.add('hv-keys'); });
  p.root.addEventListener('pointerdown', () => p.root.classList.remove('hv-keys'), true);

  p.stage.addEventListener('pointermove', (event) => {
    if (!ready()) return;
    const r = p.image.getBoundingClientRect();
    hover = toImage({ x: event.clientX - r.left, y: event.clientY - r.top });
    overlays.point(hover);
    where(hover);
    pane.point(hover);
  });
  p.stage.addEventListener('pointerleave', () => {
    hover = null;
    overlays.point(null);
    where(null);
    pane.point(null);
  });

  // the minimap has the image's shape and never more than a fifth of the stage
  function sizeMini() {
    if (!image) return;
    const most = [Math.min(152, p.stage.clientWidth * 0.22 || 152), Math.min(120, p.stage.clientHeight * 0.22 || 120)];
    const s = Math.min(most[0] / image.width, most[1] / image.height);
    p.mini.style.width = `${Math.max(24, Math.round(image.width * s))}px`;
    p.mini.style.height = `${Math.max(24, Math.round(image.height * s))}px`;
    if (ready()) viewer.navigator.updateSize();
  }

  // -- data ------------------------------------------------------------------------------------
  function update(next) {
    data = { ...next };
    p.root.dataset.theme = data.theme === 'light' ? 'light' : 'dark';
    p.root.style.height = typeof data.height === 'string' ? data.height : data.height ? `${data.height}px` : '100%';
    p.notice.textContent = data.disclaimer || '';
    pane.update(data.output || null);
    if (!data.image) return;
    const { url, ...geometry } = data.image;
    const key = JSON.stringify(geometry.id ? geometry : data.image);
    const fresh = key !== seen.image;
    const picture = data.image;
    if (fresh && ready() && picture.series !== undefined && image.series === picture.series
      && image.width === picture.width && image.height === picture.height) {
      seen.image = key;
      image = { ...picture };
      replace();
    } else if (fresh) {
      seen = { drawings: '', viewport: '', image: key };
      flown = undefined;
      image = { ...data.image };
      open();
    } else image.url = url; // renewed address of the same image: nothing is loaded again
    overlays.update(data.overlays);
    // with a version, only drawings that the page itself set are taken over: those that come back
    // from here may be older than what is on the screen
    const drawings = JSON.stringify(data.drawings_version === undefined ? data.drawings || null : data.drawings_version);
    if (drawings !== seen.drawings) {
      seen.drawings = drawings;
      const same = !data.drawings || JSON.stringify(drawing.value) === JSON.stringify(data.drawings);
      drawing.set(same ? drawing.value : data.drawings, data.drawings_version);
    }
    drawing.settle(data.draw || null, data.shift || null, data.live);
    p.stage.classList.toggle('hv-drawing', Boolean(data.draw));
    p.layers.hidden = !(data.overlays && data.overlays.length);
    flyIfAsked(false);
    redraw();
  }

  function destroy() {
    clearTimeout(timer);
    cancelAnimationFrame(frame);
    overlays.destroy();
    pane.destroy();
    if (viewer) viewer.destroy();
    viewer = null;
    p.root.remove();
    style.remove();
  }

  if (model.data) update(model.data);
  return {
    update,
    destroy,
    fly,
    element: p.root,
    imageToScreen: (x, y) => view().at(x, y),
    outputAt: (x, y) => pane.warp && pane.warp.toOutput(x, y),
    imageAt: (px, py) => pane.warp && pane.warp.toImage(px, py),
    morph: (amount) => pane.morph.set(amount),
    state: () => ({ loading, failed, cross, output: pane.cross, views: pane.shown, amount: pane.amount, tree: pane.told, viewport: ready() ? view() : null, drawings: drawing && drawing.value, message: p.messageText.textContent }),
    get viewer() { return viewer; },
  };
}
