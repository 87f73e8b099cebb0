// Days and times of the service's time zone; the browser's while it is unknown.

/** @type {string | undefined} IANA's name */
let zone;

/**
 * Choose the zone of everything below.
 * @param {string} name such as "Europe/Berlin"; "" for the browser's, as a name that it does not know
 * @returns {boolean} whether that changes anything
 */
export function setTimeZone(name) {
  const before = zone;
  try {
    zone = name ? new Intl.DateTimeFormat([], { timeZone: name }).resolvedOptions().timeZone : undefined;
  } catch {
    zone = undefined;
  }
  return zone !== before;
}

/** The zone's name where it is not the browser's own, else "". */
export function otherZone() {
  return zone && zone !== new Intl.DateTimeFormat().resolvedOptions().timeZone ? zone : "";
}

/**
 * Format a time: by default as a date with hours, minutes and seconds.
 * @param {Date} at
 * @param {Intl.DateTimeFormatOptions} options
 */
export function timeText(at, options = { dateStyle: "short", timeStyle: "medium" }) {
  return at.toLocaleString([], { timeZone: zone, ...options });
}

/**
 * Hours and minutes.
 * @param {Date} at
 */
export function clockText(at) {
  return timeText(at, { hour: "2-digit", minute: "2-digit" });
}

/**
 * The day of a time as YYYY-MM-DD.
 * @param {Date} at
 */
export function dayText(at) {
  return new Date(at.getTime() + offsetAt(at)).toISOString().slice(0, 10);
}

/**
 * The day before or after another.
 * @param {string} day YYYY-MM-DD
 * @param {number} by days
 */
export function dayBeside(day, by) {
  const noon = new Date(`${day}T12:00Z`);
  noon.setUTCDate(noon.getUTCDate() + by);
  return noon.toISOString().slice(0, 10);
}

/**
 * The start of a day and of the next; days on which daylight saving changes have 23 or 25 hours.
 * @param {string} day YYYY-MM-DD
 */
export function boundsOf(day) {
  return [startOf(day), startOf(dayBeside(day, 1))];
}

/**
 * The first moment of a day. Where a day has no midnight, that is 1:00.
 * @param {string} day
 */
function startOf(day) {
  const utc = new Date(`${day}T00:00Z`);
  // the offset before midnight, then that at the moment which it gives
  const first = new Date(utc.getTime() - offsetAt(new Date(utc.getTime() - 86_400_000)));
  const second = new Date(utc.getTime() - offsetAt(first));
  return dayText(second) === day ? second : first;
}

/**
 * How far the zone's clock is before UTC's, in milliseconds.
 * @param {Date} at
 */
function offsetAt(at) {
  const parts = new Intl.DateTimeFormat("en-US", {
    timeZone: zone, hourCycle: "h23", year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric",
  }).formatToParts(at);
  const [year, month, day, hour, minute, second] = ["year", "month", "day", "hour", "minute", "second"]
    .map((type) => Number(parts.find((part) => part.type === type)?.value));
  return Date.UTC(year, month - 1, day, hour, minute, second) - Math.floor(at.getTime() / 1000) * 1000;
}
