// Texts from values; needs no document.

/**
 * Capitalize the first letter of a text.
 * @param {string | null | undefined} text
 */
export function sentence(text) {
  return text ? text[0].toUpperCase() + text.slice(1) : "";
}

/**
 * A number with its noun: "1 photo", "3 photos".
 * @param {number} n
 * @param {string} what
 */
export function counted(n, what) {
  return n === 1 ? `1 ${what}` : `${n} ${what}s`;
}

/**
 * Format an amount with at most one decimal: "1 day", "2.5 days", "1,024 MiB".
 * @param {number} number
 * @param {string} unit
 * @param {string} many the unit's plural
 */
export function amount(number, unit, many = `${unit}s`) {
  return `${Number(number.toFixed(1)).toLocaleString()} ${number === 1 ? unit : many}`;
}

/** @type {[number, string][]} */
const UNITS = [[86400, "days"], [3600, "h"], [60, "min"]];

/**
 * Format a duration roughly: 45 s, 3 min, 2 h, 5 days. A unit is used from two on.
 * @param {number} seconds
 */
export function duration(seconds) {
  for (const [unit, word] of UNITS) {
    if (seconds >= unit * 2) {
      return `${Math.floor(seconds / unit)} ${word}`;
    }
  }
  return `${Math.round(seconds)} s`;
}

/**
 * The first letters of a name's first and last word.
 * @param {string} name
 */
export function initials(name) {
  const letters = name.split(/\s+/).filter(Boolean).map((word) => [...word][0]);
  return letters.filter((_, index) => index === 0 || index === letters.length - 1).join("").toUpperCase();
}

/**
 * The message of an error.
 * @param {unknown} error
 */
export function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}
