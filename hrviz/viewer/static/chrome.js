// What surrounds the picture: the DOM skeleton, small buttons, scale bar, zoom readout.

const MARK = '#22d3ee'; // crosshair, grid and lattice over pictures

/** An element: attributes, `class`, `text`. */
function h(name, attributes) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key === 'text') element.textContent = value;
    else if (key === 'class') element.className = value;
    else if (value === true) element.setAttribute(key, '');
    else if (value !== false && value !== undefined) element.setAttribute(key, String(value));
  }
  return element;
}

const ICONS = {
  home: 'M3 8.2 8 3.6l5 4.6M4.6 7v5.6h6.8V7',
  plus: 'M8 3.5v9M3.5 8h9',
  minus: 'M3.5 8h9',
  full: 'M3 6V3h3M10 3h3v3M13 10v3h-3M6 13H3v-3',
  layers: 'M8 2.8 2.6 5.6 8 8.4l5.4-2.8zM2.8 8.4 8 11l5.2-2.6M2.8 10.9 8 13.5l5.2-2.6',
  clear: 'M5.2 4.2V2.8h5.6v1.4M2.8 4.2h10.4M4.2 4.2l.7 9h6.2l.7-9M6.8 6.6v4.4M9.2 6.6v4.4',
  play: 'M5 3.2v9.6l7.6-4.8z',
  pause: 'M4.4 3.2h2.4v9.6H4.4zM9.2 3.2h2.4v9.6H9.2z',
  back: 'M9.8 3.6 5.4 8l4.4 4.4z',
  next: 'M6.2 3.6 10.6 8l-4.4 4.4z',
  lattice: 'M2.8 2.8h10.4v10.4H2.8zM6.3 2.8v10.4M9.7 2.8v10.4M2.8 6.3h10.4M2.8 9.7h10.4',
};

function button(icon, label, onClick) {
  const b = h('button', { type: 'button', class: 'hv-button', title: label, 'aria-label': label });
  if (ICONS[icon]) {
    b.innerHTML = `<svg viewBox="0 0 16 16" aria-hidden="true"><path d="${ICONS[icon]}"/></svg>`;
  } else b.textContent = icon;
  if (onClick) b.addEventListener('click', onClick);
  return b;
}

/** The skeleton; `act` holds the buttons' actions. */
function skeleton(act) {
  const p = {
    root: h('div', { class: 'hv' }),
    main: h('div', { class: 'hv-main' }),
    stage: h('div', { class: 'hv-stage' }),
    image: h('div', { class: 'hv-image' }),
    overlay: h('canvas', { class: 'hv-overlay', 'aria-hidden': 'true' }),
    progress: h('div', { class: 'hv-progress', 'aria-hidden': 'true' }),
    tools: h('div', { class: 'hv-tools', role: 'toolbar', 'aria-label': 'View' }),
    mini: h('div', { class: 'hv-mini', 'aria-hidden': 'true' }),
    legends: h('div', { class: 'hv-legends' }),
    scale: h('div', { class: 'hv-scale' }),
    message: h('div', { class: 'hv-message', role: 'alert', hidden: true }),
    status: h('div', { class: 'hv-status' }),
    where: h('span', { class: 'hv-where' }),
    notice: h('span', { class: 'hv-disclaimer' }),
    zoom: h('span', { class: 'hv-zoom' }),
    pane: h('div', { class: 'hv-pane', hidden: true }),
  };
  p.home = button('home', 'Show all (0)', act.home);
  p.layers = button('layers', 'Show or hide overlays (O)', act.layers);
  p.layers.setAttribute('aria-pressed', 'true');
  p.clear = button('clear', 'Remove all drawings', act.clear);
  p.clear.hidden = true;
  p.tools.append(
    p.home, button('plus', 'Zoom in (+)', act.zoomIn), button('minus', 'Zoom out (\u2212)', act.zoomOut),
    button('full', 'Full page', act.full), p.layers, p.clear,
  );
  p.messageText = h('span', {});
  p.message.append(p.messageText, button('Try again', 'Load the missing tiles again', act.retry));
  p.message.lastChild.classList.add('hv-wide');
  p.stage.append(p.image, p.overlay, p.progress, p.tools, p.mini, p.legends, p.scale, p.message);
  p.chips = h('div', { class: 'hv-chips', role: 'group', 'aria-label': 'Output views' });
  p.lattice = button('lattice', 'Show the grid over the output');
  p.lattice.setAttribute('aria-pressed', 'false');
  const head = h('div', { class: 'hv-pane-head' });
  head.append(p.chips, p.lattice);
  p.tiles = h('div', { class: 'hv-pane-body' });
  p.foot = h('div', { class: 'hv-pane-foot', hidden: true });
  p.pane.append(head, p.tiles, p.foot);
  p.main.append(p.stage, p.pane);
  p.status.append(p.where, p.notice, p.zoom);
  p.root.append(p.main, p.status);
  return p;
}

/** Where the pointer is and what lies there, in the status line `root`. */
function tellWhere(root, point, image, valuesAt) {
  if (!point || !image) {
    root.textContent = '';
    return;
  }
  const [x, y] = point;
  const inside = x >= 0 && y >= 0 && x < image.width && y < image.height;
  root.replaceChildren(h('span', { class: 'hv-xy', text: inside ? `x ${thin(Math.floor(x))}  y ${thin(Math.floor(y))}` : 'outside' }));
  for (const { label, text } of inside ? valuesAt(x, y) : []) {
    const value = h('span', { class: 'hv-value' });
    value.append(h('span', { class: 'hv-key', text: label }), h('b', { text }));
    root.append(value);
  }
}

/** A round length of at most 140 px: {px, text}. */
function scaleBar(scale, pixelSize) {
  const perPx = (pixelSize || 1) / scale; // um (or level-0 px) a screen pixel
  const most = 140 * perPx;
  const power = 10 ** Math.floor(Math.log10(most));
  const step = [5, 2, 1].find((s) => s * power <= most) || 1;
  const length = step * power;
  let text = `${thin(+length.toPrecision(1))} px`;
  if (pixelSize) {
    if (length >= 1e6) text = `${thin(length / 1e6)} m`;
    else if (length >= 1000) text = `${thin(length / 1000)} mm`;
    else if (length >= 1) text = `${thin(length)} \u00b5m`;
    else text = `${thin(+(length * 1000).toPrecision(1))} nm`;
  }
  return { px: length / perPx, text };
}

function zoomText(scale, pixelSize) {
  const d = 1 / scale;
  const own = d >= 1.05 ? `1 : ${d < 10 ? d.toFixed(1) : thin(Math.round(d))}` : scale > 1.05 ? `${scale.toFixed(1)}\u00d7` : '1 : 1';
  if (!pixelSize) return own;
  const um = pixelSize * d;
  const [size, unit] = um < 1e3 ? [um, '\u00b5m'] : um < 1e5 ? [um / 1e3, 'mm'] : [um / 1e6, 'm'];
  return `${own}  \u00b7  ${size >= 100 ? thin(Math.round(size)) : size.toPrecision(2)} ${unit}/px`;
}
