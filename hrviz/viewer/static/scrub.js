// Play button and scrubber of one value: how much of a warp, how many decisions of a tree.

class Scrub {
  /**
   * `changed(value)` is called at every frame; values run from 0 to `most` in steps; `lasts()` gives
   * milliseconds from end to end, `ease` bends time; `still`: no motion, the button jumps.
   */
  constructor({ most, step, lasts, ease, changed, still, title, label }) {
    Object.assign(this, { most, lasts, ease: ease || ((t) => t), changed, still, value: 0, frame: 0 });
    this.play = button('play', title, () => (this.frame ? this.stop() : this.run()));
    this.bar = h('input', { type: 'range', class: 'hv-range', min: 0, max: most, step, value: 0, 'aria-label': label });
    this.bar.addEventListener('input', () => { this.stop(); this.set(Number(this.bar.value)); });
  }

  /** `quiet`: nobody is told. */
  set(value, quiet) {
    this.value = value;
    this.bar.value = value;
    if (!quiet) this.changed(value);
  }

  /** From where it is to the end; from the start again when it was there. */
  run() {
    this.stop();
    const from = this.value < this.most ? this.value : 0;
    if (this.still) {
      this.set(this.value < this.most ? this.most : 0);
      return;
    }
    this._icon('pause');
    const start = performance.now();
    const time = Math.max(1, this.lasts() * (1 - from / this.most));
    const step = (now) => {
      const t = clamp((now - start) / time, 0, 1);
      if (t < 1) this.frame = requestAnimationFrame(step);
      else this.stop();
      this.set(from + this.ease(t) * (this.most - from));
    };
    step(start);
  }

  stop() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    this._icon('play');
  }

  _icon(name) {
    this.play.querySelector('path').setAttribute('d', ICONS[name]);
  }
}
