/** Counts the releases of this thread for metrics. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { costModel } from '../govern/cost-model.js'
import { type GovernorFigures, governorReadings } from '../govern/metrics.js'
import type { Reading } from '../govern/open-metrics.js'
import { type ProcessGovernor, runningGovernor } from '../govern/process-governor.js'
import { ReleaseLog } from '../govern/stats.js'
import { RELEASE_CHANNEL, type ReleaseMessage } from '../memory/release.js'
import { ownAnonymous } from '../proc/process.js'

/** Counts from its construction on, also after a governor has stopped. */
export class Releases {
  readonly #log = new ReleaseLog(false)
  /** What the governor had counted before the construction. */
  readonly #before: GovernorFigures | undefined
  readonly #governor: ProcessGovernor | undefined
  /** The governor that was asked last, and how many releases were too long for it. */
  #asked: ProcessGovernor | undefined
  #askedTooLong = 0
  /** How many were too long for the governors before. */
  #tooLong = 0
  /** Stops counting. */
  readonly stop: () => void

  /** @param governor undefined: the one that runs, if there is one */
  constructor(governor: ProcessGovernor | undefined) {
    this.#governor = governor
    this.#before = (governor ?? runningGovernor())?.stats()
    const count = (message: unknown): void => this.#log.add(message as ReleaseMessage)
    subscribe(RELEASE_CHANNEL, count)
    this.stop = () => void unsubscribe(RELEASE_CHANNEL, count)
  }

  read(): Reading[] {
    const totals = this.#log.totals()
    const before = this.#before
    const releases = { ...totals.releases }
    for (const [reason, count] of Object.entries(before?.releases ?? {}))
      releases[reason as keyof typeof releases] += count
    return governorReadings({
      releases,
      returned: totals.returned + (before?.returned ?? 0),
      ms: totals.ms + (before?.ms ?? 0),
      longestPause: Math.max(totals.longestPause, before?.longestPause ?? 0),
      expectedPause: costModel().longestPause(),
      tooLong: this.#countTooLong(),
      anonymous: ownAnonymous()
    })
  }

  #countTooLong(): number {
    const governor = this.#governor ?? runningGovernor()
    if (governor !== undefined && governor !== this.#asked) {
      this.#tooLong += this.#askedTooLong
      this.#asked = governor
    }
    this.#askedTooLong = this.#asked?.stats().tooLong ?? 0
    return this.#tooLong + this.#askedTooLong
  }
}
