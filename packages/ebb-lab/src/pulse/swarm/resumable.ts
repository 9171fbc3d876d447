/**
 * Runs that survive the death of their coordinator, and of NATS.
 *
 * Every agent has its part of the plan, and goes on with it when it hears nothing of the coordinator. The coordinator
 * stores the results after each pulse. Whoever has the id of the run can collect the rest.
 */
import { addCauses } from '../causes.js'
import type { Crowd } from '../crowd.js'
import { Latencies } from '../latencies.js'
import { pause } from '../pause.js'
import { type Plan, type Pulse, planSchema, pulsesOf } from '../plan.js'
import {
  addLatencies,
  addResult,
  checkOptions,
  either,
  emptyReport,
  mostOf,
  type PulseEvent,
  type PulseOptions,
  type PulseReport,
  pulseOnce,
  swarmCrowd
} from '../pulse.js'
import type { Target } from '../target.js'
import { addTraffic } from '../traffic.js'
import { WatchedCrowd } from '../watched-crowd.js'
import { Coordinator, type SwarmOptions } from './coordinator.js'
import { RevisionError } from './errors.js'
import { Follower } from './follow.js'
import { planFromJson, planToJson } from './messages.js'
import { defaultWho } from './recruiter.js'
import { leaseOf } from './run-id.js'
import { type RunState, STATE_VERSION, StoredRun } from './run-state.js'
import type { RunStore } from './run-store.js'

/** Milliseconds for which agents go on without a coordinator, by default. */
export const DEFAULT_GRACE = 10 * 60_000

/** Milliseconds between two attempts to store the state. */
const RETRY = 500
/** Number of attempts. */
const ATTEMPTS = 4

/** Where a new run is stored. */
export interface NewRun {
  store: RunStore
  /** Id of the run, whose secret the coordinator has: {@link leaseOf}. */
  id: string
  /** Milliseconds for which agents go on without a coordinator. */
  grace: number
  /** Called when the state is stored for the first time: from then on, the run can be resumed. */
  onStored?: () => void
  /** Called when the state cannot be stored, with the reason. */
  onUnstored?: (why: string) => void
}

/**
 * Does what `pulse()` does with a swarm, so that the run can be resumed.
 *
 * @param options `swarm` must be a coordinator with the option `resumable`
 * @throws as `pulse()`; {@link SwarmError} if the state cannot be stored at the start, or another process has taken the
 *   run over
 */
export async function sendResumably(
  target: Target,
  plan: Partial<Plan>,
  options: PulseOptions & { swarm: Coordinator },
  { store, id, grace, onStored, onUnstored = () => {} }: NewRun
): Promise<PulseReport> {
  const wholePlan = planSchema.parse(plan)
  checkOptions(options)
  const { swarm, signal, onEvent = () => {} } = options
  const run: { current?: Run } = {}
  const crowdPlan = { plan: wholePlan, grace, onChange: async () => await run.current?.store() }
  const crowd = await swarmCrowd(target, mostOf(wholePlan), options, swarm, crowdPlan)
  const { pulses, connected, failed, lost, abandoned, echoed, unanswered, late, traffic } = emptyReport()
  const state: RunState = {
    v: STATE_VERSION,
    swarm: swarm.swarm,
    who: defaultWho().slice(0, 100),
    began: Date.now(),
    plan: planToJson(wholePlan),
    grace,
    report: { pulses, connected, failed, lost, abandoned, echoed, unanswered, late, traffic },
    latencies: crowd.latencies.encoded(),
    connectMs: 0,
    spread: null,
    error: null,
    agents: agentsOf(swarm)
  }
  const stored = await StoredRun.create(id, store, state)
  run.current = new Run(swarm, stored, state, { signal, onEvent, onUnstored })
  onStored?.()
  const { onStats } = options
  return await run.current.make(onStats === undefined ? crowd : new WatchedCrowd(crowd, onStats))
}

/** A run to resume. */
export interface ResumeOptions {
  store: RunStore
  /** Id of the run. */
  id: string
  swarm: Omit<SwarmOptions, 'resumable'>
  /** Ends the run: the agents close all connections, and the report covers the run so far. */
  signal?: AbortSignal
  onEvent?: (event: PulseEvent) => void
  /** Called when the agents that are left have been found. */
  onResumed?: (state: RunState, coordinator: Coordinator) => void
  /** Called when the state cannot be stored, with the reason. */
  onUnstored?: (why: string) => void
}

/**
 * Takes over a run whose coordinator has died, and collects the results of its agents until they have done their parts.
 * Then frees them.
 *
 * @throws {SwarmError} if there is no such run, or a living process has it; {@link NatsError} if the bus cannot be used
 */
export async function resumeRun(options: ResumeOptions): Promise<PulseReport> {
  const { store, id, swarm, signal, onEvent = () => {}, onResumed, onUnstored = () => {} } = options
  const { run: stored, state } = await StoredRun.open(id, store)
  const resumable = { lease: leaseOf(id), grace: state.grace }
  const coordinator = await Coordinator.resume({ ...swarm, resumable }, state)
  try {
    // A process that had the run before, and still lives, can store nothing from here on.
    await stored.put(state)
    onResumed?.(state, coordinator)
    return await new Run(coordinator, stored, state, { signal, onEvent, onUnstored }).finish()
  } finally {
    await coordinator.end()
  }
}

/** What a run needs besides its agents and its state. */
interface RunOptions {
  signal: AbortSignal | undefined
  onEvent: (event: PulseEvent) => void
  onUnstored: (why: string) => void
}

/** A resumable run that this process leads or follows. */
class Run {
  readonly #coordinator: Coordinator
  readonly #stored: StoredRun
  readonly #options: RunOptions
  readonly #signal: AbortSignal | undefined
  /** State after the last pulse that is over. */
  #state: RunState
  #report: PulseReport
  #latencies: Latencies
  #connectMs = 0

  constructor(coordinator: Coordinator, stored: StoredRun, state: RunState, options: RunOptions) {
    this.#coordinator = coordinator
    this.#stored = stored
    this.#options = options
    this.#signal = either(options.signal, coordinator.stopped)
    this.#state = state
    this.#report = emptyReport()
    this.#latencies = new Latencies()
    this.#restore()
  }

  /** Makes the run with a crowd of agents. If they go on alone, collects their results. */
  async make(crowd: Crowd): Promise<PulseReport> {
    const { detached } = this.#coordinator
    try {
      this.#latencies = crowd.latencies
      await this.#lead(crowd)
      if (detached.aborted) {
        // What this process knows of the present pulse is incomplete. The agents have all of it.
        this.#restore()
        await this.#follow()
      }
    } finally {
      await crowd.close()
      await crowd.dispose()
    }
    return await this.#end()
  }

  /** Collects the results of agents that go on alone. */
  async finish(): Promise<PulseReport> {
    await this.#follow()
    return await this.#end()
  }

  async #lead(crowd: Crowd): Promise<void> {
    const { detached } = this.#coordinator
    const onEvent = (event: PulseEvent): void => {
      if (!detached.aborted) this.#options.onEvent(event)
    }
    for (const next of pulsesOf(planFromJson(this.#state.plan))) {
      if (this.#signal?.aborted || detached.aborted) return
      const opened = await pulseOnce(crowd, next, this.#report, this.#signal, onEvent)
      if (detached.aborted) return
      this.#connectMs += opened.ms
      if (opened.connected === 0 && next.n > 0 && !this.#signal?.aborted) {
        this.#report.stopped = this.#coordinator.pulsing.length === 0 ? 'agents lost' : 'nobody answers'
        return
      }
      await this.#commit()
      await pause(next.after, either(this.#signal, detached))
    }
  }

  async #follow(): Promise<void> {
    // Other agents took over the shares of those that were lost before.
    const team = this.#state.agents.filter(({ why }) => why === null).map(({ id }) => id)
    const follower = new Follower(this.#coordinator, new Set(team), this.#latencies)
    for (const pulse of pulsesOf(planFromJson(this.#state.plan))) {
      if (pulse.index < this.#report.pulses) continue
      if (!(await this.#followPulse(follower, pulse))) return
    }
  }

  /** Collects the results of one pulse. Returns false if the run is over. */
  async #followPulse(follower: Follower, pulse: Pulse): Promise<boolean> {
    const { onEvent } = this.#options
    const coordinator = this.#coordinator
    onEvent({ event: 'pulse', pulse })
    const { opened, lost, traffic, isOver } = await follower.collect(pulse, this.#signal, () => {
      const { open, failing } = coordinator
      onEvent({ event: 'progress', pulse, open, failed: failing })
    })
    if (isOver) {
      if (!this.#signal?.aborted) this.#report.stopped = 'agents lost'
      return false
    }
    this.#report.pulses++
    addResult(this.#report, opened)
    addCauses(this.#report.lost, lost)
    addTraffic(this.#report.traffic, traffic)
    addCauses(this.#report.unanswered, traffic.unanswered)
    this.#connectMs += opened.ms
    onEvent({ event: 'connected', pulse, opened })
    onEvent({ event: 'closing', pulse })
    onEvent({ event: 'closed', pulse, lost, traffic, replaced: 0 })
    await this.#commit()
    if (opened.connected > 0 || pulse.n === 0 || this.#signal?.aborted) return true
    this.#report.stopped = 'nobody answers'
    return false
  }

  /** Takes the results up to now as those of all pulses that are over, and stores them. */
  async #commit(): Promise<void> {
    const { pulses, connected, failed, lost, abandoned, echoed, unanswered, late, traffic, targets } = this.#report
    const { spread, error } = this.#coordinator.report()
    this.#state = structuredClone({
      ...this.#state,
      report: { pulses, connected, failed, lost, abandoned, echoed, unanswered, late, traffic, targets },
      latencies: this.#latencies.encoded(),
      connectMs: this.#connectMs,
      spread,
      error
    })
    await this.store()
  }

  /**
   * Stores the state, with the agents that there are now.
   *
   * @throws {SwarmError} if another process has taken the run over
   */
  async store(): Promise<void> {
    this.#state = { ...this.#state, agents: agentsOf(this.#coordinator) }
    const stop = either(this.#signal, this.#coordinator.detached)
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#stored.put(this.#state)
        return
      } catch (error) {
        if (error instanceof RevisionError) throw error
        if (attempt === ATTEMPTS || stop?.aborted) {
          this.#options.onUnstored((error as Error).message)
          return
        }
      }
      await pause(RETRY, stop)
    }
  }

  /** Goes back to the state after the last pulse that is over. */
  #restore(): void {
    const { report, latencies, connectMs, agents } = structuredClone(this.#state)
    this.#report = { ...emptyReport(), ...report }
    this.#connectMs = connectMs
    this.#latencies = new Latencies()
    this.#latencies.merge(latencies)
    for (const member of this.#coordinator.all) {
      Object.assign(member.total, agents.find(({ id }) => id === member.id)?.total)
    }
  }

  /** Removes the state, and returns the report. */
  async #end(): Promise<PulseReport> {
    const report = this.#report
    if (this.#signal?.aborted) report.stopped = this.#options.signal?.aborted ? 'signal' : 'agents lost'
    addLatencies(report, this.#latencies)
    report.connectsPerSecond = this.#connectMs > 0 ? (report.connected / this.#connectMs) * 1000 : 0
    report.swarm = this.#coordinator.report()
    // Agents that cannot be reached now may still have results.
    if (report.stopped !== 'agents lost') await this.#stored.delete()
    return report
  }
}

/** Returns what the state says about the agents that make connections. */
function agentsOf(coordinator: Coordinator): RunState['agents'] {
  const agents = coordinator.all.filter(({ records }) => records === null)
  return structuredClone(agents.map(({ id, name, why, part, total }) => ({ id, name, why, part, total })))
}
