// Which tiles of the wall play, the wall's grid, and its pages.

export const MAX_PLAYING = 16;

/**
 * Choose which tiles play: the visible ones, the first if there are too many. Others go on playing if
 * there is room, since a person may only be scrolling.
 * @template {{isPlaying: boolean}} Tile
 * @param {Tile[]} tiles in the wall's order
 * @param {(tile: Tile) => boolean} isVisible
 * @returns {{play: Tile[], linger: Tile[], pause: Tile[]}} tiles to play, to pause later unless
 *   visible again, and to pause at once
 */
export function choosePlaying(tiles, isVisible) {
  const play = tiles.filter(isVisible).slice(0, MAX_PLAYING);
  const others = tiles.filter((tile) => tile.isPlaying && !play.includes(tile));
  const room = MAX_PLAYING - play.length;
  return { play, linger: others.slice(0, room), pause: others.slice(room) };
}

/**
 * The columns and rows for so many tiles, as square as possible.
 * @param {number} n
 */
export function gridOf(n) {
  const columns = Math.ceil(Math.sqrt(n)) || 1;
  return { columns, rows: Math.ceil(n / columns) || 1 };
}

/**
 * The page of the wall to show: as many tiles as may play, so that all of a page do.
 * @param {number} n cameras
 * @param {number} wanted page, from 0
 * @returns {{page: number, pages: number, from: number, to: number}} the page, which exists unless there is
 *   no camera, the number of pages, and the range of its cameras, without `to`
 */
export function pageOf(n, wanted) {
  const pages = Math.ceil(n / MAX_PLAYING);
  const page = Math.max(0, Math.min(wanted, pages - 1));
  return { page, pages, from: page * MAX_PLAYING, to: Math.min(n, (page + 1) * MAX_PLAYING) };
}
