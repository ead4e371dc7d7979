"""What Chromium shows in windows of its own is kept from opening: no screenshot shows it, and frames wait for it for ever.

The pickers of date, time and colour fields are taken away (dates and times are typed, as on any keyboard), a script that asks for
a picker gets the in-page list of a <select> or nothing, and a page cannot lock the pointer. The list that stands in for the native
one of a <select> is in `stepladder.envs.browser.select`.
"""

from __future__ import annotations

#: Runs in our own world.
PICKERS_SCRIPT = r"""(() => {
  const dated = new Set(['date', 'time', 'month', 'week', 'datetime-local']);
  const isDated = (element) => element instanceof HTMLInputElement && dated.has(element.type);
  const isColor = (element) => element instanceof HTMLInputElement && element.type === 'color';

  // Without its button a picker has no place where a click or the Tab key could open it.
  const sheet = new CSSStyleSheet();
  sheet.replaceSync('input::-webkit-calendar-picker-indicator { display: none !important }');
  document.adoptedStyleSheets.push(sheet);

  addEventListener('keydown', (event) => {
    if (!isDated(event.composedPath()[0])) return;
    if (event.key === ' ' || event.key === 'F4' || (event.altKey && /^Arrow(Up|Down)$/.test(event.key))) event.preventDefault();
  }, true);
  addEventListener('click', (event) => {
    const label = event.composedPath().find((element) => element instanceof HTMLLabelElement);
    if (isColor(event.composedPath()[0]) || isColor(label?.control)) event.preventDefault();
  }, true);
})();
"""

#: Runs in the page's world, where the page would find the functions that it replaces.
REQUESTS_SCRIPT = r"""(() => {
  const ask = function showPicker() { this.dispatchEvent(new CustomEvent('stepladder-picker', {bubbles: true, composed: true})); };
  HTMLSelectElement.prototype.showPicker = ask;
  HTMLInputElement.prototype.showPicker = function showPicker() {};
  Element.prototype.requestPointerLock = function requestPointerLock() {
    return Promise.reject(new DOMException('The pointer cannot be locked here.', 'NotAllowedError'));
  };
})();
"""
