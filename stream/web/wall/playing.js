// Which cameras of the wall play, and how the wall is divided.

export const MAX_PLAYING = 16;

/**
 * Choose which tiles play. Those that are looked at do, the first ones where they are too many;
 * others go on playing where there is room, for a person may only scroll past.
 * @template {{isPlaying: boolean}} Tile
 * @param {Tile[]} tiles in the wall's order
 * @param {(tile: Tile) => boolean} isSeen
 * @returns {{play: Tile[], linger: Tile[], pause: Tile[]}} those to play, to pause later unless
 *   they are seen again, and to pause at once
 */
export function choosePlaying(tiles, isSeen) {
  const play = tiles.filter(isSeen).slice(0, MAX_PLAYING);
  const others = tiles.filter((tile) => tile.isPlaying && !play.includes(tile));
  const room = MAX_PLAYING - play.length;
  return { play, linger: others.slice(0, room), pause: others.slice(room) };
}

/**
 * How many columns and rows hold so many tiles, as square as they go.
 * @param {number} n
 */
export function gridOf(n) {
  const columns = Math.ceil(Math.sqrt(n)) || 1;
  return { columns, rows: Math.ceil(n / columns) || 1 };
}
