/** The result of opening connections. */
import { addCauses, type Causes } from './causes.js'

/** Result of one `connect(n)`. The counts in `connected`, `failed` and `abandoned` add up to `n`. */
export interface Opened {
  /** Number of connections that were opened. */
  connected: number
  /** Connects that failed, by errno. */
  failed: Causes
  /** Number of connects that an abort cancelled, or that never began because of it. */
  abandoned: number
  /** Number of connects that could not begin within 10 ms of the time that the rate prescribes. 0 without a rate. */
  late: number
  /** Number of open connections that left for others. */
  replaced: number
  /** Number of active connections that received their whole payload back. */
  echoed: number
  /**
   * Active connections that did not, by cause. `TIMEOUT`: the payload did not come back in time. `MISMATCH`: other
   * bytes came back. `FIN`, `ECONNRESET`, ...: the server closed the connection first.
   */
  unanswered: Causes
  /** Milliseconds from the start of the first connect to the end of the last one. */
  ms: number
  /** Results by server. Only if there are several. */
  targets?: TargetResult[] | undefined
}

/** Connects to one of several servers. */
export interface TargetResult {
  /** The server, for people. */
  target: string
  connected: number
  /** Connects that failed, by errno. */
  failed: Causes
}

/** Returns a result in which nothing has happened yet. */
export function emptyOpened(): Opened {
  return { connected: 0, failed: {}, abandoned: 0, late: 0, replaced: 0, echoed: 0, unanswered: {}, ms: 0 }
}

/**
 * Adds the result of one part of a crowd to the sum. Parts connect at the same time, so the longest duration counts.
 */
export function addOpened(to: Opened, from: Opened): void {
  to.connected += from.connected
  to.abandoned += from.abandoned
  to.late += from.late
  to.replaced += from.replaced
  to.echoed += from.echoed
  to.ms = Math.max(to.ms, from.ms)
  addCauses(to.failed, from.failed)
  addCauses(to.unanswered, from.unanswered)
  addTargets(to, from)
}

/** Adds the results by server. */
export function addTargets(to: Pick<Opened, 'targets'>, { targets }: Pick<Opened, 'targets'>): void {
  for (const { target, connected, failed } of targets ?? []) {
    to.targets ??= []
    let sum = to.targets.find((one) => one.target === target)
    if (sum === undefined) {
      sum = { target, connected: 0, failed: {} }
      to.targets.push(sum)
    }
    sum.connected += connected
    addCauses(sum.failed, failed)
  }
}
