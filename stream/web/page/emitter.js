// An EventTarget with typed events.

/**
 * @template {object} Events the type of each event's detail by the event's name; void for none
 */
export class Emitter extends EventTarget {
  /**
   * Call a listener with the detail of each event.
   * @template {keyof Events & string} Type
   * @param {Type} type
   * @param {(detail: Events[Type]) => void} listener
   * @param {AddEventListenerOptions} [options]
   */
  on(type, listener, options) {
    this.addEventListener(type, (event) => listener(/** @type {CustomEvent} */ (event).detail), options);
  }

  /**
   * @template {keyof Events & string} Type
   * @param {Type} type
   * @param {Events[Type] extends void ? [] : [Events[Type]]} details
   */
  emit(type, ...details) {
    this.dispatchEvent(new CustomEvent(type, { detail: details[0] }));
  }
}
