"""What is on a page, read three ways: a digest (`state_key`), words and widgets with boxes (`Region`), the accessibility tree.

The scripts run in our own JavaScript world, so a page can neither see nor break them.
"""

from __future__ import annotations

from typing import Any

from stepladder.envs.browser.page import Page
from stepladder.types import Box, Element, Region

MAX_ELEMENTS = 2000

#: `stepladder.digest()`: {url, closed, copied, key}; equal keys mean that a person would call the two states of the page the same.
#: Ids are left out (libraries number them), and so are hover styles and the caret.
DIGEST_SCRIPT = r"""(() => {
  globalThis.stepladder ??= {};
  const skipped = new Set(['SCRIPT', 'STYLE', 'TEMPLATE', 'NOSCRIPT', 'HEAD', 'META', 'LINK']);
  const ignoredAttribute = /^(id|for|name|href|title|alt|on.*|aria-.*|data-.*)$/;
  const hoverClass = /\S*(hover|focus|active-item)\S*/g;
  const limit = 20000;

  function describe(element, parts) {
    const box = element.getBoundingClientRect();
    parts.push(element.tagName, Math.round(box.left), Math.round(box.top), Math.round(box.width), Math.round(box.height));
    for (const attribute of element.attributes) {
      if (ignoredAttribute.test(attribute.name)) continue;
      const text = attribute.name === 'class' ? attribute.value.replace(hoverClass, '').trim() : attribute.value.slice(0, 500);
      if (text) parts.push(attribute.name, text);
    }
    if ('value' in element && typeof element.value !== 'function') parts.push(String(element.value));
    if (element.checked) parts.push('checked');
    if (element.disabled) parts.push('disabled');
    if (element.open) parts.push('open');
    if (element === element.ownerDocument.activeElement && element !== element.ownerDocument.body) parts.push('focused');
    if (element.scrollTop || element.scrollLeft) parts.push(Math.round(element.scrollTop), Math.round(element.scrollLeft));
    if (element.tagName === 'CANVAS' && box.width * box.height > 0 && element.width * element.height <= 1e6) {
      try { parts.push(element.toDataURL()); } catch (error) { parts.push('unreadable canvas'); }
    }
    const {selectionStart: from, selectionEnd: to} = element;
    if (typeof from === 'number' && from !== to) parts.push('selected', from, to);
  }

  function visit(node, parts) {
    if (parts.length > limit) return;
    if (node.nodeType === Node.TEXT_NODE) {
      const text = node.nodeValue.trim();
      if (text) parts.push(text);
      return;
    }
    if (node.nodeType !== Node.ELEMENT_NODE || skipped.has(node.tagName) || !node.checkVisibility()) return;
    describe(node, parts);
    const children = node.shadowRoot ? node.shadowRoot.childNodes : node.childNodes;
    for (const child of children) visit(child, parts);
    if (node.tagName === 'IFRAME' && node.contentDocument?.documentElement) visit(node.contentDocument.documentElement, parts);
  }

  // cyrb53, a public-domain string hash by bryc.
  function hash(text) {
    let a = 0xdeadbeef, b = 0x41c6ce57;
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      a = Math.imul(a ^ code, 2654435761);
      b = Math.imul(b ^ code, 1597334677);
    }
    a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909);
    b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909);
    return (4294967296 * (2097151 & b) + (a >>> 0)).toString(16).padStart(14, '0');
  }

  // Scripts can copy too; the keys that copy are the environment's own doing.
  let copied = false;
  for (const kind of ['copy', 'cut']) addEventListener(kind, () => { copied = true; }, true);

  stepladder.digest = () => {
    const parts = [location.href];
    if (document.documentElement) visit(document.documentElement, parts);
    const selection = getSelection();
    if (selection && !selection.isCollapsed) parts.push(selection.toString().slice(0, 2000));
    const wasCopied = copied;
    copied = false;
    return {url: location.href, closed: window.closed, copied: wasCopied, key: hash(parts.join('\u0000'))};
  };
})();
"""

#: `stepladder.regions()`: list of [text, kind, box, target box or null, target kind, states], only what a click would reach.
REGIONS_SCRIPT = r"""(() => {
  globalThis.stepladder ??= {};
  const inputKinds = {password: 'password', checkbox: 'checkbox', radio: 'radio', range: 'slider', color: 'color',
    submit: 'button', button: 'button', reset: 'button', image: 'button', file: 'button', hidden: ''};
  const tagKinds = {TEXTAREA: 'textarea', SELECT: 'select', BUTTON: 'button', A: 'link', LABEL: 'label',
    SUMMARY: 'button', OPTION: 'option'};
  const roles = new Set(['button', 'link', 'tab', 'checkbox', 'radio', 'slider', 'menuitem', 'option', 'switch',
    'textbox', 'combobox', 'spinbutton', 'treeitem', 'searchbox']);
  const skipped = new Set(['SCRIPT', 'STYLE', 'TEMPLATE', 'NOSCRIPT', 'TEXTAREA', 'OPTION', 'OPTGROUP', 'SELECT']);
  const pictures = new Set(['IMG', 'CANVAS', 'svg']);

  // What has been found out during one call: every word asks for the widget around it, and so for its ancestors.
  let kinds, widgets, targets;
  function remembered(known, element, find) {
    if (!known.has(element)) known.set(element, find(element));
    return known.get(element);
  }
  const kindOf = (element) => remembered(kinds, element, findKind);
  const widgetOf = (element) => remembered(widgets, element, findWidget);
  const targetOf = (widget) => (widget ? remembered(targets, widget, findTarget) : [null, '']);

  function findKind(element) {
    if (element.tagName === 'INPUT') return inputKinds[element.type] ?? 'textbox';
    if (/\b(titlebar-close|btn-close|close-button)\b/.test(element.className?.baseVal ?? element.className)) return 'close';
    if (tagKinds[element.tagName]) return tagKinds[element.tagName];
    if (element.isContentEditable && !element.parentElement?.isContentEditable) return 'textbox';
    const role = element.getAttribute('role');
    if (roles.has(role)) return role === 'searchbox' ? 'textbox' : role;
    if (element.classList.contains('ui-slider-handle')) return 'slider';
    if (element.dataset?.color) return 'color';
    if (element.hasAttribute('onclick')) return 'clickable';
    if (getComputedStyle(element).cursor === 'pointer') {
      const parent = element.parentElement;
      if (!parent || getComputedStyle(parent).cursor !== 'pointer') return 'clickable';
    }
    return '';
  }

  function findWidget(element) {
    if (element === document.body) return null;
    if (kindOf(element)) return element;
    return element.parentElement ? widgetOf(element.parentElement) : null;
  }

  const boxOf = (rect) => [rect.left, rect.top, rect.width, rect.height];
  const findTarget = (widget) => [boxOf(widget.getBoundingClientRect()), kindOf(widget)];

  function reachable(rect, element) {
    if (rect.width < 1 || rect.height < 1) return false;
    const x = rect.left + rect.width / 2, y = rect.top + rect.height / 2;
    if (x < 0 || y < 0 || x >= innerWidth || y >= innerHeight) return false;
    const top = document.elementFromPoint(x, y);
    if (!top) return false;
    if (top === element || element.contains(top)) return true;
    // Parts without pointer events (text over a button, labels in pictures) let clicks through to an ancestor.
    return top.contains(element) && getComputedStyle(element).pointerEvents === 'none';
  }

  function shown(element) {
    return element.checkVisibility({checkOpacity: true, checkVisibilityCSS: true});
  }

  function statesOf(element) {
    const states = [];
    if (element.checked || element.getAttribute('aria-checked') === 'true') states.push('checked');
    if (element.getAttribute('aria-selected') === 'true') states.push('selected');
    if (element.getAttribute('aria-expanded') === 'true') states.push('expanded');
    if (element.disabled || element.getAttribute('aria-disabled') === 'true') states.push('disabled');
    if (element.type === 'password') states.push('password');
    if (element === document.activeElement) states.push('focused');
    return states;
  }

  function labelOf(element) {
    const clean = (text) => (text ?? '').replace(/\s+/g, ' ').trim().slice(0, 200);
    const labels = element.labels ? clean([...element.labels].map((label) => label.textContent).join(' ')) : '';
    if (element.tagName === 'INPUT') {
      if (['checkbox', 'radio'].includes(element.type)) return labels || clean(element.getAttribute('aria-label'));
      return element.type === 'password' ? '' : clean(element.value) || (inputKinds[element.type] === 'button' ? element.type : '');
    }
    if (element.tagName === 'SELECT') return clean(element.selectedOptions[0]?.textContent);
    if (element.tagName === 'TEXTAREA') return clean(element.value);
    if (element.dataset?.color) return clean(element.dataset.color);
    return clean(element.getAttribute('aria-label') || element.innerText || element.textContent || element.getAttribute('alt') ||
      element.getAttribute('title'));
  }

  function addWords(node, found) {
    const element = node.parentElement;
    if (!element || !shown(element)) return;
    const widget = widgetOf(element);
    const range = document.createRange();
    for (const match of node.nodeValue.matchAll(/\S+/g)) {
      range.setStart(node, match.index);
      range.setEnd(node, match.index + match[0].length);
      const rect = range.getClientRects()[0];
      if (!rect || !reachable(rect, element)) continue;
      found.push([match[0], 'word', boxOf(rect), ...targetOf(widget), widget ? statesOf(widget) : []]);
    }
  }

  function addElement(element, found) {
    const kind = kindOf(element) || (pictures.has(element.tagName) ? 'icon' : '');
    if (!kind || kind === 'label' || !shown(element)) return;
    const rect = element.getBoundingClientRect();
    if (!reachable(rect, element)) return;
    const widget = widgetOf(element);
    found.push([labelOf(element), kind, boxOf(rect), ...targetOf(widget), statesOf(element)]);
  }

  stepladder.regions = (limit = 5000) => {
    const found = [];
    kinds = new Map();
    widgets = new Map();
    targets = new Map();
    const root = document.body ?? document.documentElement;
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
    for (let node = walker.nextNode(); node && found.length < limit; node = walker.nextNode()) {
      if (node.nodeType === Node.TEXT_NODE) {
        if (!skipped.has(node.parentElement?.tagName)) addWords(node, found);
      } else if (!node.ownerSVGElement) {
        addElement(node, found);
      }
    }
    for (const [text, rect, usable, active] of stepladder.openRows?.() ?? []) {
      const states = [...(usable ? [] : ['disabled']), ...(active ? ['selected'] : [])];
      found.push([text, 'option', boxOf(rect), boxOf(rect), 'option', states]);
    }
    return found;
  };
})();
"""

_DROPPED_ROLES = ("InlineTextBox", "none", "generic", "LineBreak", "ListMarker")
_STATES = ("focused", "checked", "selected", "expanded", "disabled", "pressed", "readonly")


def parse_regions(found: list[list[Any]]) -> tuple[Region, ...]:
    """The answer of `stepladder.regions()`: of the page's own document, without frames (iframe) and shadow trees."""
    return tuple(
        Region(text, kind, _box(box), _box(target) if target else None, target_kind, tuple(states))
        for text, kind, box, target, target_kind, states in found
    )


async def accessibility_tree(page: Page) -> tuple[Element, ...]:
    """The page's accessibility tree in document order, at most MAX_ELEMENTS nodes; boxes are cut to the screen.

    Nodes that say nothing (unnamed groups, text boxes within lines) are left out and their children move up. Shadow trees are in
    it; what lies within a frame (iframe) is not, the frame itself is one element.
    """
    asked_tree = page.request("Accessibility.getFullAXTree")
    asked_boxes = page.request("DOMSnapshot.captureSnapshot", {"computedStyles": []})
    nodes = (await page.answer(asked_tree))["nodes"]
    boxes, passwords = _snapshot_boxes(await page.answer(asked_boxes))
    by_id = {node["nodeId"]: node for node in nodes}
    elements: list[Element] = []
    stack = [(node, -1) for node in reversed(nodes) if node.get("parentId") not in by_id]
    while stack and len(elements) < MAX_ELEMENTS:
        node, parent = stack.pop()
        backend = node.get("backendDOMNodeId")
        element = _element(node, boxes.get(backend), backend in passwords, parent)
        if element is not None:
            parent = len(elements)
            elements.append(element)
        stack += [(by_id[child], parent) for child in reversed(node.get("childIds", ())) if child in by_id]
    return tuple(_cut(element, page.width, page.height) for element in elements)


def _element(node: dict[str, Any], box: Box | None, password: bool, parent: int) -> Element | None:
    role = str(node.get("role", {}).get("value", ""))
    name = str(node.get("name", {}).get("value", ""))
    if node.get("ignored") or (role in _DROPPED_ROLES and not (role == "generic" and name)):
        return None
    properties = {entry["name"]: entry["value"].get("value") for entry in node.get("properties", ())}
    states = tuple(state for state in _STATES if properties.get(state) in (True, "true", "mixed"))
    states += ("password",) if password else ()
    return Element(role, name, str(node.get("value", {}).get("value", "")), box, states, parent)


def _snapshot_boxes(snapshot: dict[str, Any]) -> tuple[dict[int, Box], set[int]]:
    """Boxes on the screen by backend node id, and the ids of password fields."""
    boxes: dict[int, Box] = {}
    passwords: set[int] = set()
    strings = snapshot["strings"]
    for document in snapshot["documents"][:1]:  # frames inside have coordinates of their own
        backend_ids = document["nodes"]["backendNodeId"]
        left, top = document.get("scrollOffsetX", 0.0), document.get("scrollOffsetY", 0.0)
        for index, bounds in zip(document["layout"]["nodeIndex"], document["layout"]["bounds"], strict=True):
            boxes[backend_ids[index]] = (bounds[0] - left, bounds[1] - top, bounds[2], bounds[3])
        for backend, attributes in zip(backend_ids, document["nodes"].get("attributes", ()), strict=False):
            words = [strings[number] for number in attributes if number >= 0]
            if ("type", "password") in zip(words[::2], words[1::2], strict=False):
                passwords.add(backend)
    return boxes, passwords


def _cut(element: Element, width: int, height: int) -> Element:
    if element.box is None:
        return element
    left, top, box_width, box_height = element.box
    right, bottom = min(left + box_width, width), min(top + box_height, height)
    left, top = max(left, 0.0), max(top, 0.0)
    box = (left, top, right - left, bottom - top) if right > left and bottom > top else None
    return Element(element.role, element.name, element.value, box, element.states, element.parent)


def _box(values: list[float]) -> Box:
    left, top, width, height = (float(value) for value in values)
    return left, top, width, height
