// Small helpers over the document.

export function byId(id) {
  return document.getElementById(id);
}

/** Make an element: h("li", {class: "x", onclick: f}, "text", child). Null children are left out. */
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
  element.append(...children.filter((child) => child != null));
  return element;
}

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

/** Change text only where it differs, so that screen readers hear changes alone. */
export function setText(element, text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

export function toast(text, kind = "good") {
  const note = h("p", { class: `toast ${kind}` }, text);
  const box = byId("toasts");
  box.append(note);
  // Above a modal dialog that is open, or was opened since.
  box.popover = "manual";
  box.hidePopover();
  box.showPopover();
  while (box.children.length > 3) {
    box.firstElementChild.remove();
  }
  setTimeout(() => note.classList.add("leaving"), 4500);
  setTimeout(() => note.remove(), 5000);
}

export function sentence(text) {
  return text ? text[0].toUpperCase() + text.slice(1) : "";
}

/** A picture with initials behind it, for where there is no picture. */
export function portrait(url, name) {
  const initials = (name ?? "?")
    .split(/\s+/)
    .filter(Boolean)
    .map((word) => [...word][0])
    .filter((_, index, all) => index === 0 || index === all.length - 1)
    .join("")
    .toUpperCase();
  const box = h("span", { class: "portrait", "aria-hidden": "true" }, initials);
  if (url) {
    const image = h("img", { src: url, alt: "", loading: "lazy", decoding: "async" });
    image.addEventListener("error", () => image.remove());
    box.append(image);
  }
  return box;
}
