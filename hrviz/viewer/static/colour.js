// Colour maps as 256-entry tables of packed RGBA, and the palettes of classes.

// 33 samples of each map (matplotlib's, CC0), interpolated linearly between.
const MAPS = {
  viridis: '440154470d6048186a482374472d7b4537814240863e49893b528b375b8d33638d2f6b8e2c728e297a8e26828e23898e21918c1f988b1fa08822a78528ae8032b67a3fbc734ec36b5ec96270cf5784d44b98d83eaddc30c2df23d8e219ece51bfde725',
  magma: '0000040303120a0822130d341d114729115a36106b440f7651127c5d177f6a1c81762181832681902a819c2e7faa337db73779c43c75d0416fdc4869e75263ef5d5ef56b5cf9795dfc8961fd9869fea772feb67cfec488fed395fde2a3fcf0b2fcfdbf',
  cividis: '00224e00285b002e6a0533711a386f273e6e32436d3b496c434e6c4b546c535a6d5a5f6e61656f686a716f70737676767d7c788482798c8878938e789b9476a39a74aba072b4a76fbcae6cc4b468cdbb63d5c25edec958e7d150f0d846f9e03afee838',
  // blue - neutral grey - orange: the middle says nothing, colour-blind safe
  diverging: '1f5a99' + '4c86bd' + '86b1d8' + 'bcd0e0' + 'd9d9d9' + 'ecc9a8' + 'e6a266' + 'cf7430' + '9c4708',
};

// Okabe-Ito without black, then lighter and darker ones: told apart under colour-blindness.
const CLASSES = [
  '#56b4e9', '#e69f00', '#009e73', '#cc79a7', '#f0e442', '#d55e00', '#0072b2', '#b2a1ff',
  '#7fd9c4', '#ffb3a7', '#a6761d', '#c0c0c0',
];

// Levels of a read map or a tree, fine to coarse.
const LEVELS = ['#ffb000', '#fe6100', '#dc267f', '#8f7bff', '#5b9dff', '#3ad0c8', '#8bd450', '#b0b7c0'];

function rgbOf(hex) {
  const v = parseInt(hex.replace('#', ''), 16);
  return [(v >> 16) & 255, (v >> 8) & 255, v & 255];
}

function sampled(name) {
  const text = MAPS[name] || MAPS.viridis;
  const n = text.length / 6;
  const stops = Array.from({ length: n }, (_, i) => rgbOf(text.slice(6 * i, 6 * i + 6)));
  return (t) => {
    const f = Math.min(Math.max(t, 0), 1) * (n - 1);
    const i = Math.min(Math.floor(f), n - 2);
    return stops[i].map((c, k) => Math.round(c + (stops[i + 1][k] - c) * (f - i)));
  };
}

const COLOURS = {};
function colourAt(name, t) {
  COLOURS[name] = COLOURS[name] || sampled(name);
  return COLOURS[name](t);
}

function cssAt(name, t) {
  return `rgb(${colourAt(name, t).join(',')})`;
}

function classColour(spec, i) {
  const c = (spec.classes || []).find((k) => k.value === i) || (spec.classes || [])[i];
  if (c && c.color) return c.color;
  return CLASSES[((i % CLASSES.length) + CLASSES.length) % CLASSES.length];
}

/** Value of an index 1..255 of an encoding range; NaN for 0. */
function valueOf(index, shown) {
  return index === 0 ? NaN : shown.vmin + ((index - 1) / 254) * (shown.vmax - shown.vmin);
}

/** 256 packed colours (little endian ABGR): what an index looks like under the overlay's settings. */
function lookup(spec, shown) {
  const table = new Uint32Array(256);
  const [lo, hi] = spec.range || [shown.vmin, shown.vmax];
  const labels = spec.lut === 'labels';
  for (let i = 1; i < 256; i++) {
    const value = valueOf(i, shown);
    let rgb;
    if (labels) {
      const label = Math.round(value);
      if (label === (spec.background === undefined ? 0 : spec.background)) continue;
      rgb = rgbOf(classColour(spec, label));
    } else {
      // a threshold hides what lies below it; half an index of slack for the 8-bit rounding
      const slack = (shown.vmax - shown.vmin) / 508;
      if (spec.threshold !== null && spec.threshold !== undefined && value < spec.threshold - slack) continue;
      rgb = colourAt(spec.lut, hi > lo ? (value - lo) / (hi - lo) : 0);
    }
    table[i] = ((255 << 24) | (rgb[2] << 16) | (rgb[1] << 8) | rgb[0]) >>> 0;
  }
  return table;
}

/** A number for people: no more digits than the range deserves. */
function tidy(value, span) {
  if (!Number.isFinite(value)) return 'no data';
  const s = Math.abs(span === undefined ? value : span);
  const digits = s >= 100 ? 0 : s >= 10 ? 1 : s >= 1 ? 2 : s >= 0.1 ? 3 : s >= 0.001 ? 4 : 6;
  return thin(value.toFixed(digits).replace('-', '\u2212'));
}

/** Thin spaces in thousands. */
function thin(number) {
  const [whole, part] = String(number).split('.');
  const grouped = whole.replace(/\B(?=(\d{3})+(?!\d))/g, '\u2009');
  return part === undefined ? grouped : `${grouped}.${part}`;
}
