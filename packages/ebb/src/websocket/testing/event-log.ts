/** What the handlers of a server in a test are called with. */

/** What happened: `['message', 'text', false]`. */
export type Event = [name: string, ...details: unknown[]]

/** Events, in order. */
export class EventLog {
  readonly events: Event[] = []
  readonly #waiting = new Set<() => void>()

  readonly note = (...event: Event): void => {
    this.events.push(event)
    for (const check of this.#waiting) check()
  }

  /** Resolves with the events of this name when there are at least `count` of them. */
  readonly seen = (name: string, count = 1): Promise<Event[]> =>
    new Promise((resolve) => {
      const check = (): void => {
        const found = this.events.filter(([other]) => other === name)
        if (found.length < count) return
        this.#waiting.delete(check)
        resolve(found)
      }
      this.#waiting.add(check)
      check()
    })
}
