// Elements of the document.

import { initials } from "./text.js";

/**
 * An element of the page by its id.
 * @overload
 * @param {string} id
 * @returns {HTMLElement}
 */
/**
 * @template {HTMLElement} T
 * @overload
 * @param {string} id
 * @param {new () => T} type its type, such as HTMLInputElement
 * @returns {T}
 */
/**
 * @param {string} id
 * @param {new () => HTMLElement} type
 * @throws {Error} if there is no such element
 */
export function byId(id, type = HTMLElement) {
  const element = document.getElementById(id);
  if (!(element instanceof type)) {
    throw new Error(`the page has no ${type.name} with the id ${id}`);
  }
  return element;
}

/**
 * The first element within another that matches a selector.
 * @overload
 * @param {ParentNode} parent
 * @param {string} selector
 * @returns {HTMLElement}
 */
/**
 * @template {HTMLElement} T
 * @overload
 * @param {ParentNode} parent
 * @param {string} selector
 * @param {new () => T} type
 * @returns {T}
 */
/**
 * @param {ParentNode} parent
 * @param {string} selector
 * @param {new () => HTMLElement} type
 * @throws {Error} if there is no such element
 */
export function find(parent, selector, type = HTMLElement) {
  const element = parent.querySelector(selector);
  if (!(element instanceof type)) {
    throw new Error(`the page has no ${type.name} for ${selector}`);
  }
  return element;
}

/**
 * Create an element: h("li", {class: "x", onclick: f}, "text", child). Null children are left out.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any>} attributes
 * @param {...(Node | string | null)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) {
      element.addEventListener(name.slice(2), value);
    } else if (value === true) {
      element.setAttribute(name, "");
    } else if (value !== false && value != null) {
      element.setAttribute(name, value);
    }
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/**
 * Set the children of an element. Those that are in place are not touched: an element that is moved
 * loses its focus, and a click that has begun.
 * @param {Element} parent
 * @param {Element[]} children
 */
export function setChildren(parent, children) {
  const wanted = new Set(children);
  [...parent.children].filter((child) => !wanted.has(child)).forEach((child) => child.remove());
  children.forEach((child, index) => {
    const there = parent.children[index] ?? null;
    if (there !== child) {
      parent.insertBefore(child, there);
    }
  });
}

/**
 * A symbol of glyphs.svg.
 * @param {string} name
 */
export function glyph(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const use = document.createElementNS(space, "use");
  svg.setAttribute("class", "glyph");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `glyphs.svg#${name}`);
  svg.append(use);
  return svg;
}

/**
 * Set text only if it differs, so that screen readers announce only changes.
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

/**
 * Set the label of an element, like `setText`.
 * @param {Element} element
 * @param {string} label
 */
export function setLabel(element, label) {
  if (element.getAttribute("aria-label") !== label) {
    element.setAttribute("aria-label", label);
  }
}

/**
 * Show a message for some seconds; one with an action stays until it is answered.
 * @param {string} text
 * @param {"good" | "bad"} kind
 * @param {{label: string, run: () => void, no?: string}} [action] `no` closes it
 */
export function toast(text, kind = "good", action) {
  const note = h("p", { class: `toast ${kind}` }, text);
  const box = byId("toasts");
  if (action) {
    const answer = () => note.remove();
    note.append(
      h("button", { type: "button", class: "button small primary", onclick: () => { answer(); action.run(); } }, action.label),
      h("button", { type: "button", class: "button small", onclick: answer }, action.no ?? "Not now"));
  }
  box.append(note);
  // Above a modal dialog that is open.
  box.popover = "manual";
  box.hidePopover();
  box.showPopover();
  while (box.children.length > 3) {
    box.firstElementChild?.remove();
  }
  if (!action) {
    setTimeout(() => note.classList.add("leaving"), 4500);
    setTimeout(() => note.remove(), 5000);
  }
}

/**
 * A portrait; if there is no image, the initials of the name, or a silhouette of somebody unknown.
 * @param {string | null} url
 * @param {string | null} name
 */
export function portrait(url, name) {
  const box = h("span", { class: "portrait", "aria-hidden": "true" }, name === null ? glyph("person") : initials(name));
  if (url) {
    const image = h("img", { src: url, alt: "", loading: "lazy", decoding: "async" });
    image.addEventListener("error", () => image.remove());
    box.append(image);
  }
  return box;
}
