// Streamlit's side. The default export is called again on every change of data, without clean-up in
// between: the viewer is kept by its parent element and only told the new data.
const views = new WeakMap();

export default function ({ data, parentElement, setStateValue, setTriggerValue }) {
  let view = views.get(parentElement);
  if (!view) {
    view = { gone: false };
    views.set(parentElement, view);
    // the viewer itself comes from a route, once, cached for ever: an inline module would travel
    // with every rerun
    view.ready = import(new URL(data.module, window.location.origin).href).then(
      ({ mount }) => {
        if (view.gone) return;
        view.handle = mount(parentElement, {
          set: (name, value) => (name === 'click' ? view.trigger(name, value) : view.state(name, value)),
        });
        view.handle.update(view.data);
        parentElement.hrviz = view.handle;
      },
      () => {
        const note = document.createElement('p');
        note.textContent = 'The viewer could not be loaded: start the app with "hrviz app".';
        parentElement.append(note);
      },
    );
  }
  view.state = setStateValue;
  view.trigger = setTriggerValue;
  view.data = data.viewer;
  if (view.handle) view.handle.update(data.viewer);
  return () => {
    view.gone = true;
    views.delete(parentElement);
    if (view.handle) view.handle.destroy();
  };
}
