/** Counts of what connections send and receive while they are open. */
import { addCauses, type Causes, count } from './causes.js'

/** What the connections of a crowd have said and heard. */
export interface Traffic {
  /** Messages sent: payloads, HTTP requests, WebSocket messages, MQTT publications. */
  sent: number
  /** Answers that came in time and were right: echoes, HTTP responses below 400, acknowledgements of MQTT. */
  answered: number
  /** Messages of the server that were no answers. */
  received: number
  /** Pings of WebSocket and MQTT that were sent, and those that were answered. */
  pings: number
  pongs: number
  /** Messages that could not be sent when they were due, because the answer before them was still awaited. */
  late: number
  /** Answers that were wrong or did not come, by cause, after the first one of each connection. */
  unanswered: Causes
  /** HTTP responses by status code. */
  statuses: Causes
  /** TLS handshakes that resumed the session of an earlier connection. */
  resumed: number
}

/** Returns counts in which nothing has happened yet. */
export function emptyTraffic(): Traffic {
  return {
    sent: 0,
    answered: 0,
    received: 0,
    pings: 0,
    pongs: 0,
    late: 0,
    unanswered: {},
    statuses: {},
    resumed: 0
  }
}

/** Adds the counts of `from` to `to`. */
export function addTraffic(to: Traffic, from: Traffic): void {
  for (const name of ['sent', 'answered', 'received', 'pings', 'pongs', 'late', 'resumed'] as const) {
    to[name] += from[name]
  }
  addCauses(to.unanswered, from.unanswered)
  addCauses(to.statuses, from.statuses)
}

/** Returns whether anything was counted. */
export function hasTraffic({ unanswered, statuses, ...counts }: Traffic): boolean {
  return Object.values(counts).some((n) => n > 0) || Object.keys({ ...unanswered, ...statuses }).length > 0
}

/** Counts without making an object for an event. */
export class TrafficCounter {
  sent = 0
  answered = 0
  received = 0
  pings = 0
  pongs = 0
  late = 0
  resumed = 0
  /** By HTTP status. */
  readonly #statuses = new Float64Array(1000)
  #unanswered: Causes = {}

  /** Counts an HTTP response. */
  countStatus(status: number): void {
    this.#statuses[status] = (this.#statuses[status] as number) + 1
  }

  /** Counts an answer that is missing or wrong. */
  countUnanswered(cause: string): void {
    count(this.#unanswered, cause)
  }

  /** Returns the counts since the last call. */
  take(): Traffic {
    const { sent, answered, received, pings, pongs, late, resumed } = this
    const statuses: Causes = {}
    for (const [status, n] of this.#statuses.entries()) count(statuses, String(status), n)
    const unanswered = this.#unanswered
    this.sent = this.answered = this.received = this.pings = this.pongs = this.late = this.resumed = 0
    this.#statuses.fill(0)
    this.#unanswered = {}
    return { sent, answered, received, pings, pongs, late, unanswered, statuses, resumed }
  }
}
