/** Where a live page is served. Apart from the server, so that a command without a page does not load that. */

/** An address of a live page. */
export interface LiveAddress {
  host: string
  port: number
  /** Whether the next free port is taken if this one is in use. */
  isFlexible: boolean
}

/** The port of live pages. k6 uses the same. */
export const LIVE_PORT = 5665
