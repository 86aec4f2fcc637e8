// Jupyter's side: tiles come over the widget's own channel, at most 8 at once (the viewer's queue).
export default {
  render({ model, el }) {
    const waiting = new Map();
    let last = 0;
    const request = (message, signal) =>
      new Promise((resolve, reject) => {
        const id = `${model.model_id || model.get('_model_id') || ''}${Math.random().toString(36).slice(2, 8)}${++last}`;
        waiting.set(id, { resolve, reject });
        signal.addEventListener('abort', () => {
          if (!waiting.delete(id)) return;
          model.send({ cancel: id });
          reject(new DOMException('no longer needed', 'AbortError'));
        });
        model.send({ id, ...message });
      });
    const onMessage = (message, buffers) => {
      const entry = waiting.get(message.id);
      if (!entry) return;
      waiting.delete(message.id);
      if (message.error) entry.reject(new Error(message.error));
      else entry.resolve(new Blob([buffers[0]], { type: message.mime }));
    };
    model.on('msg:custom', onMessage);

    const names = ['image', 'overlays', 'output', 'drawings', 'draw', 'theme', 'height', 'disclaimer', 'fly_to'];
    const data = () => {
      const get = (name) => model.get(name);
      const flight = get('fly_to') || {};
      return {
        image: get('image'), overlays: get('overlays'), output: get('output') || null, drawings: get('drawings'),
        draw: get('draw') || null, theme: get('theme'), height: get('height'), disclaimer: get('disclaimer') || null,
        viewport: flight.box || null, viewport_version: flight.version || 0,
      };
    };
    const handle = mount(el, {
      set: (name, value) => {
        if (name === 'click') model.send({ click: value });
        else {
          model.set(name, value);
          model.save_changes();
        }
      },
      requestTile: (z, x, y, signal) => request({ z, x, y }, signal),
      requestMap: (map, key, signal) => {
        const [z, x, y] = key.split(/[/_]/).map(Number);
        return request({ map: map.key, z, x, y }, signal);
      },
    });
    handle.update(data());
    el.hrviz = handle;
    const refresh = () => handle.update(data());
    names.forEach((name) => model.on(`change:${name}`, refresh));
    return () => {
      names.forEach((name) => model.off(`change:${name}`, refresh));
      model.off('msg:custom', onMessage);
      handle.destroy();
    };
  },
};
