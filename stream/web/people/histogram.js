// The plot of a calibration: where its bars, ticks and threshold are drawn.

/**
 * @typedef {{edges: number[], genuine: number[], impostor: number[]}} Histogram
 * @typedef {{x: number, y: number, width: number, height: number, share: number, from: number, to: number}} Bar
 */

/**
 * The part of the histogram that holds counts, as shares of their sum. Each kind of pair has a scale of
 * its own: there are far more pairs of different people.
 * @param {Histogram} histogram
 * @param {{width: number, height: number}} size of the drawing
 * @returns {{genuine: Bar[], impostor: Bar[], from: number, to: number}}
 */
export function barsOf({ edges, genuine, impostor }, { width, height }) {
  const used = genuine.map((n, index) => n + impostor[index] > 0);
  const first = Math.max(used.indexOf(true), 0);
  const last = Math.max(used.lastIndexOf(true), first);
  const [from, to] = [edges[first], edges[last + 1]];
  /** @param {number[]} counts */
  const bars = (counts) => {
    const sum = counts.reduce((a, b) => a + b, 0);
    const most = Math.max(...counts);
    return counts.slice(first, last + 1).map((n, index) => {
      const [x1, x2] = [edges[first + index], edges[first + index + 1]].map((edge) => scale(edge, from, to, width));
      const tall = most ? (n / most) * height : 0;
      return { x: x1, y: height - tall, width: x2 - x1, height: tall, share: sum ? n / sum : 0, from: edges[first + index], to: edges[first + index + 1] };
    });
  };
  return { genuine: bars(genuine), impostor: bars(impostor), from, to };
}

/**
 * Where a similarity is drawn, within the drawing.
 * @param {number} value
 * @param {number} from
 * @param {number} to
 * @param {number} width
 */
export function scale(value, from, to, width) {
  return Math.min(Math.max((value - from) / (to - from || 1), 0), 1) * width;
}

/**
 * Round similarities to mark on the axis.
 * @param {number} from
 * @param {number} to
 */
export function ticksOf(from, to) {
  const step = to - from > 0.8 ? 0.2 : 0.1;
  const ticks = [];
  for (let i = Math.ceil(from / step - 1e-9); i * step <= to + 1e-9; i += 1) {
    ticks.push(Math.round(i * step * 10) / 10 + 0); // no -0
  }
  return ticks;
}
