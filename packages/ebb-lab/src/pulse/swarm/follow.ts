/** Collects the results of agents that go on with a run alone, pulse by pulse. */
import { addCauses, type Causes, count } from '../causes.js'
import type { Latencies } from '../latencies.js'
import { addOpened, emptyOpened, type Opened } from '../opened.js'
import { pause } from '../pause.js'
import type { Pulse } from '../plan.js'
import { addTraffic, emptyTraffic, type Traffic } from '../traffic.js'
import type { Coordinator } from './coordinator.js'
import { AGENT_LOST } from './errors.js'
import type { Member } from './member.js'
import type { Answer } from './messages.js'

/** Milliseconds between two questions to an agent, with few agents. */
const POLL_INTERVAL = 250
/** Milliseconds that this interval has at least for each agent, so that many agents do not flood this process. */
const INTERVAL_EACH = 1

type Result = NonNullable<Extract<Answer, { answer: 'result' }>['result']>

/** What all agents did in one pulse. */
export interface FollowedPulse {
  opened: Opened
  lost: Causes
  traffic: Traffic
  /** Whether no agent made this pulse: all have ended before it, or are lost. */
  isOver: boolean
}

/** Collects results of agents that go on alone. */
export class Follower {
  /** Latencies of all pulses so far. */
  readonly latencies: Latencies
  readonly #coordinator: Coordinator
  /** Agents that take part in the run. */
  readonly #team: readonly Member[]
  #isHalted = false

  /**
   * @param team ids of the agents that take part in the run
   * @param latencies those of the pulses before; the follower adds to them
   */
  constructor(coordinator: Coordinator, team: ReadonlySet<string>, latencies: Latencies) {
    this.#coordinator = coordinator
    this.latencies = latencies
    this.#team = coordinator.all.filter(({ id }) => team.has(id))
  }

  /**
   * Waits until every agent has made a pulse, or is lost, and adds up what they did.
   *
   * @param signal has the agents close everything. The pulse then counts as it was
   * @param onProgress called now and then while the agents make the pulse
   */
  async collect(pulse: Pulse, signal: AbortSignal | undefined, onProgress: () => void): Promise<FollowedPulse> {
    const results = new Map<Member, Result>()
    let pending = [...this.#team]
    for (;;) {
      if (signal?.aborted && !this.#isHalted) {
        this.#isHalted = true
        await Promise.all(pending.map((member) => this.#coordinator.ask(member, { order: 'halt' })))
      }
      const waiting = await Promise.all(pending.map((member) => this.#ask(member, pulse.index, results)))
      pending = pending.filter((_, i) => waiting[i])
      if (pending.length === 0) break
      onProgress()
      const interval = Math.max(POLL_INTERVAL, pending.length * INTERVAL_EACH)
      await pause(interval, this.#isHalted ? undefined : signal)
    }
    return this.#sum(pulse, results)
  }

  /** Asks an agent for its result of a pulse. Returns whether it has to be asked again. */
  async #ask(member: Member, pulse: number, results: Map<Member, Result>): Promise<boolean> {
    const answer = await this.#coordinator.ask(member, { order: 'result', pulse })
    if (answer?.answer === 'refused') this.#coordinator.lose(member, answer.reason)
    if (answer?.answer !== 'result') return false
    if (answer.result !== null) results.set(member, answer.result)
    return answer.result === null && answer.next <= pulse && !answer.ended
  }

  #sum(pulse: Pulse, results: Map<Member, Result>): FollowedPulse {
    const opened = emptyOpened()
    const lost: Causes = {}
    const traffic = emptyTraffic()
    const starts: { at: number; error: number }[] = []
    for (const member of this.#team) {
      const result = this.#valid(member, results.get(member))
      const share = pulse.size === 'big' ? member.part.big : member.part.small
      if (result === undefined) {
        if (member.state === 'lost') {
          count(opened.failed, AGENT_LOST, share)
          count(member.total.failed, AGENT_LOST, share)
        }
        continue
      }
      const { offset = 0, error = 0 } = member.clock.best ?? {}
      if (share > 0) starts.push({ at: result.began - offset, error })
      addOpened(opened, result.opened)
      addCauses(lost, result.lost)
      addTraffic(traffic, result.traffic)
      member.total.connected += result.opened.connected
      addCauses(member.total.failed, result.opened.failed)
      addCauses(member.total.unanswered, result.opened.unanswered)
      addCauses(member.total.unanswered, result.traffic.unanswered)
      addCauses(member.total.lost, result.lost)
    }
    this.#coordinator.addStarts(starts)
    return { opened, lost, traffic, isOver: results.size === 0 }
  }

  /** Adds the latencies of a result. Gives up an agent whose result is not possible. */
  #valid(member: Member, result: Result | undefined): Result | undefined {
    if (result === undefined) return undefined
    const { opened, latencies, answered } = result
    try {
      this.latencies.merge(latencies, { connects: opened.connected, answers: answered })
      return result
    } catch (error) {
      this.#coordinator.lose(member, `its result is not possible: ${(error as Error).message}`)
      return undefined
    }
  }
}
