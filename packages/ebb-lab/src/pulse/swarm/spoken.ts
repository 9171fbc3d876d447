/** What connections have sent and received, with the latencies of the answers. */
import { type EncodedLatency, Latency } from '../latencies.js'
import { addTraffic, emptyTraffic, type Traffic } from '../traffic.js'

/** Adds up traffic until it is taken. */
export class Spoken {
  #traffic = emptyTraffic()
  readonly #answers = new Latency()

  /** @param answers latencies of answers, or null if there were none */
  add(traffic: Traffic, answers: EncodedLatency | null): void {
    addTraffic(this.#traffic, traffic)
    this.addAnswers(answers)
  }

  addAnswers(answers: EncodedLatency | null): void {
    if (answers !== null) this.#answers.merge(answers)
  }

  /** Returns what has been added since the last call. `answered`: number of latencies in `answers`. */
  take(): { traffic: Traffic; answers: EncodedLatency | null; answered: number } {
    const traffic = this.#traffic
    const answered = this.#answers.corrected.count
    const answers = answered === 0 ? null : this.#answers.encoded()
    this.#traffic = emptyTraffic()
    this.#answers.reset()
    return { traffic, answers, answered }
  }
}
