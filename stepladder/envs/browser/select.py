"""An in-page list in place of the native pop-up of a <select>, which is a window of its own that no screenshot shows.

The script runs in our own JavaScript world in every document. It opens on the mouse button or the keys that open the native list,
closes on a choice, Escape, Tab or a press elsewhere, and fires the same `input` and `change` events. A closed list is left to
Chromium.
"""

from __future__ import annotations

SELECT_SCRIPT = r"""(() => {
  globalThis.stepladder ??= {};
  let open = null;  // {select, host, rows, options, active}
  let typed = '', typedAt = 0;

  const isPopup = (element) => element instanceof HTMLSelectElement && !element.multiple && element.size <= 1;
  const groupOf = (option) => (option.parentElement instanceof HTMLOptGroupElement ? option.parentElement : null);
  const usable = (option) => !option.disabled && !groupOf(option)?.disabled;

  function close() {
    if (!open) return;
    open.host.remove();
    open = null;
  }

  function commit(index) {
    const {select, options} = open;
    close();
    const option = options[index];
    if (!option || option.selected) return;
    select.selectedIndex = option.index;
    select.dispatchEvent(new Event('input', {bubbles: true, composed: true}));
    select.dispatchEvent(new Event('change', {bubbles: true}));
  }

  function activate(index) {
    if (!open || index < 0) return;
    open.rows.forEach((row, number) => {
      row.style.background = number === index ? '#1a73e8' : 'transparent';
      row.style.color = number === index ? 'white' : usable(open.options[number]) ? 'black' : '#999';
    });
    open.active = index;
    const row = open.rows[index], list = open.list;
    if (row.offsetTop < list.scrollTop) list.scrollTop = row.offsetTop;
    const below = row.offsetTop + row.offsetHeight - list.clientHeight;
    if (below > list.scrollTop) list.scrollTop = below;
  }

  function move(from, step) {
    for (let index = from + step; index >= 0 && index < open.options.length; index += step) {
      if (usable(open.options[index])) return activate(index);
    }
  }

  function build(select) {
    const list = document.createElement('div'), rows = [], options = [...select.options];
    list.style.cssText = 'all:initial;position:absolute;box-sizing:border-box;overflow-y:auto;background:white;color:black;' +
      'border:1px solid #767676;box-shadow:0 2px 4px rgba(0,0,0,.3);cursor:default;user-select:none;';
    const style = getComputedStyle(select);
    list.style.font = style.font;
    list.style.minWidth = select.getBoundingClientRect().width + 'px';
    let group = null;
    for (const option of options) {
      const parent = groupOf(option);
      if (parent && parent !== group) {
        const title = document.createElement('div');
        title.textContent = parent.label;
        title.style.cssText = 'font-weight:bold;padding:1px 4px;white-space:pre;';
        list.append(title);
      }
      group = parent;
      const row = document.createElement('div');
      row.textContent = option.label || option.textContent || '\u00a0';
      row.style.cssText = `padding:1px ${parent ? 12 : 4}px;white-space:pre;min-height:1em;`;
      if (getComputedStyle(option).display === 'none') row.style.display = 'none';
      rows.push(row);
      list.append(row);
    }
    return {list, rows, options};
  }

  function place(select, list) {
    const box = select.getBoundingClientRect();
    const viewWidth = document.documentElement.clientWidth || innerWidth, viewHeight = innerHeight;
    const below = viewHeight - box.bottom, above = box.top, wanted = list.offsetHeight;
    const upward = wanted > below && above > below;
    const height = Math.max(20, Math.min(wanted, upward ? above : below));
    list.style.height = height + 'px';
    list.style.maxWidth = viewWidth + 'px';
    list.style.left = Math.max(0, Math.min(box.left, viewWidth - list.offsetWidth)) + 'px';
    list.style.top = (upward ? box.top - height : Math.min(box.bottom, viewHeight - height)) + 'px';
  }

  function show(select) {
    close();
    if (select.disabled || !select.options.length) return;
    select.focus();
    // A closed shadow tree at the end of the document: out of reach of the page's styles, scripts and selectors.
    const host = document.createElement('div');
    host.style.cssText = 'all:initial;position:fixed;left:0;top:0;width:0;height:0;z-index:2147483647;';
    const root = host.attachShadow({mode: 'closed'}), {list, rows, options} = build(select);
    root.append(list);
    // Inside an open <dialog> only its own children are above the backdrop.
    (select.closest('dialog[open]') ?? document.documentElement).append(host);
    open = {select, host, list, rows, options, active: -1};
    place(select, list);
    activate(select.selectedIndex);
    rows.forEach((row, index) => row.addEventListener('mousemove', () => { if (usable(options[index])) activate(index); }));
    list.addEventListener('mouseup', (event) => {
      const index = rows.indexOf(event.target);
      if (event.button === 0 && index >= 0 && usable(options[index])) commit(index);
    });
  }

  function search(character) {
    const now = performance.now();
    typed = now - typedAt > 1000 ? character : typed + character;
    typedAt = now;
    const repeated = [...typed].every((one) => one === typed[0]);
    const wanted = (repeated ? typed[0] : typed).toLowerCase(), count = open.options.length;
    const start = repeated ? open.active + 1 : Math.max(open.active, 0);
    for (let step = 0; step < count; step++) {
      const index = (start + step) % count;
      const text = (open.options[index].label || open.options[index].textContent).trim().toLowerCase();
      if (usable(open.options[index]) && text.startsWith(wanted)) return activate(index);
    }
  }

  function onOpenKey(event) {
    const {key} = event, last = open.options.length;
    if (key === 'Escape') close();
    else if (key === 'Enter') commit(open.active);
    else if (key === 'Tab') { commit(open.active); return; }  // the focus moves on as usual
    else if ((key === 'ArrowDown' || key === 'ArrowUp') && event.altKey) commit(open.active);
    else if (key === 'ArrowDown') move(open.active, 1);
    else if (key === 'ArrowUp') move(open.active, -1);
    else if (key === 'Home' || key === 'PageUp') move(-1, 1);
    else if (key === 'End' || key === 'PageDown') move(last, -1);
    else if (key === ' ' && !typed) commit(open.active);
    else if (key.length === 1 && !event.ctrlKey && !event.metaKey) search(key);
    else return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }

  addEventListener('mousedown', (event) => {
    const target = event.composedPath()[0];
    if (open && (target === open.host || event.target === open.host)) {
      event.preventDefault();  // the focus stays on the select
      event.stopImmediatePropagation();
      return;
    }
    const opened = open?.select;
    close();
    const select = target instanceof Element ? target.closest('select') : null;
    if (event.button !== 0 || !select || !isPopup(select)) return;
    event.preventDefault();
    if (select === opened) select.focus();
    else show(select);
  }, true);

  for (const kind of ['click', 'pointerdown', 'pointerup']) {
    addEventListener(kind, (event) => { if (open && event.target === open.host) event.stopImmediatePropagation(); }, true);
  }

  addEventListener('keydown', (event) => {
    if (open) return onOpenKey(event);
    const select = event.composedPath()[0];
    if (!isPopup(select)) return;
    const opens = [' ', 'F4', 'Enter'].includes(event.key) || (event.altKey && ['ArrowDown', 'ArrowUp'].includes(event.key));
    if (!opens) return;
    event.preventDefault();
    typed = '';
    show(select);
  }, true);

  addEventListener('stepladder-picker', (event) => {  // select.showPicker()
    const select = event.composedPath()[0];
    if (isPopup(select)) show(select);
  }, true);

  addEventListener('wheel', (event) => { if (open && event.target !== open.host) close(); }, {capture: true, passive: true});
  addEventListener('blur', (event) => { if (open && event.target === open.select) close(); }, true);
  // The rows of an open list that can be seen: [text, box, usable, active].
  stepladder.openRows = () => {
    if (!open) return [];
    const frame = open.list.getBoundingClientRect(), {rows, options, active} = open;
    const boxes = rows.map((row) => row.getBoundingClientRect());
    return rows.map((row, index) => [row.textContent, boxes[index], usable(options[index]), index === active]).filter(
      ([, box]) => box.height > 0 && box.top + box.height / 2 >= frame.top && box.top + box.height / 2 < frame.bottom);
  };
})();
"""
