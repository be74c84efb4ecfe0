// The few ways in which this page touches the document. All of them take text as text.

export const $ = (id) => document.getElementById(id);

// An element with attributes and children. Children are nodes or text; `false` attributes are left out.
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// Writes only what changed: an untouched node costs no layout.
export function write(element, text) {
  const node = element.firstChild;
  if (node === null) element.append(text);
  else if (node.data !== text) node.data = text;
}

export function mark(element, name, value) {
  if (value === null || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

// For screen readers: said once, when they have a moment.
export function announce(text) {
  write($('announce'), text);
}

// The colours of page.css for canvases, which know no variables.
export function colours(names) {
  const probe = $('probe');
  return Object.fromEntries(
    names.map((name) => {
      probe.style.color = `var(--${name})`;
      return [name, getComputedStyle(probe).color];
    }),
  );
}

// Rows of a table body, made and dropped as needed; `fill(cells, item)` writes one.
export function rows(body, items, columns, fill) {
  while (body.rows.length > items.length) body.deleteRow(-1);
  while (body.rows.length < items.length) {
    const row = body.insertRow();
    for (let i = 0; i < columns; i++) row.insertCell();
  }
  items.forEach((item, i) => fill(body.rows[i].cells, item));
}

const TAIL = 7;

// A market's name, which may be cut in its middle, never at its end. Isolated: it must not turn the text around it.
export function named(ticker) {
  const name = el('bdi', { class: 'ticker' }, el('span'), el('span'));
  rename(name, ticker);
  return name;
}

export function rename(name, ticker) {
  const letters = Array.from(ticker);
  write(name.firstChild, letters.slice(0, -TAIL).join(''));
  write(name.lastChild, letters.slice(-TAIL).join(''));
}
