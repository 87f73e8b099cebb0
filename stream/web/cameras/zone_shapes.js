// Zones drawn over an image: their outlines and names.

import { h } from "../page/dom.js";

const SPACE = "http://www.w3.org/2000/svg";

/**
 * Draw zones, in place of those drawn before.
 * @param {HTMLElement} box as large as the image
 * @param {[string, [number, number][]][]} zones name and points of each
 */
export function drawZones(box, zones) {
  const svg = document.createElementNS(SPACE, "svg");
  svg.setAttribute("viewBox", "0 0 1 1");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const names = zones.map(([name, points]) => {
    const shape = document.createElementNS(SPACE, "polygon");
    shape.setAttribute("points", points.map((point) => point.join(",")).join(" "));
    shape.dataset.zone = name;
    svg.append(shape);
    const label = h("span", { class: "zone-name" }, name);
    const [left, top] = labelPlace(points);
    label.style.left = `${100 * left}%`;
    label.style.top = `${100 * top}%`;
    return label;
  });
  box.replaceChildren(svg, ...names);
}

/**
 * Where the name of a zone begins: at its highest point, of two the left one.
 * @param {[number, number][]} points
 */
export function labelPlace(points) {
  return points.reduce((best, point) => (point[1] < best[1] || (point[1] === best[1] && point[0] < best[0]) ? point : best));
}
