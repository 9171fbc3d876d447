/** Discovers the agents of a swarm and takes their leases. */
import { hostname, userInfo } from 'node:os'
import { duration } from '../../units/format.js'
import { pause } from '../pause.js'
import type { Bus } from './bus.js'
import { SwarmError } from './errors.js'
import { LEASE } from './lease.js'
import type { Member, MemberList } from './member.js'
import { type Answer, type Offer, offerSchema, otherVersion, PROTOCOL } from './messages.js'
import type { Messenger } from './messenger.js'
import { serviceOf } from './subjects.js'

/** Milliseconds to wait for the number of agents that was asked for. */
const GATHER_TIMEOUT = 30_000
/** Milliseconds between two discoveries. */
const RETRY = 250

/** What a recruiter needs. */
interface RecruiterOptions {
  bus: Bus
  swarm: string
  members: MemberList
  messenger: Messenger
  /** Name of the coordinator for people. */
  who: string
  /** Milliseconds between two heartbeats. */
  beat: number
  signal?: AbortSignal | undefined
  /** Returns whether the coordinator has ended, so that no more agents are taken. */
  ended(): boolean
  /** Called when the coordinator has got an agent. */
  onJoined(member: Member): void
  /** Called when an agent of a resumed run is lost. */
  onLost(member: Member, why: string): void
  /** Called when an agent is not used, with the reason. */
  onRefused(agent: string, why: string): void
}

/** Takes agents for a run. */
export class Recruiter {
  readonly #options: RecruiterOptions
  /** Agents that are not used, each with its reason: `NAME: why`. */
  readonly #refused = new Set<string>()

  constructor(options: RecruiterOptions) {
    this.#options = options
  }

  /**
   * Takes all agents of the swarm.
   *
   * @param wanted number of agents to wait for, up to 30 s. Undefined: takes those that are there now
   * @throws {SwarmError} if there are too few, or another coordinator has them; the reason of the signal
   */
  async gather(wanted: number | undefined): Promise<void> {
    const { signal, members } = this.#options
    const needed = wanted ?? 1
    const deadline = performance.now() + (wanted === undefined ? 0 : GATHER_TIMEOUT)
    let offers: Offer[]
    for (;;) {
      signal?.throwIfAborted()
      offers = await this.#discover()
      if (offers.length >= needed || performance.now() >= deadline) break
      await pause(RETRY, signal)
    }
    if (offers.length < needed) throw this.#tooFew(offers.length, needed)
    await this.#takeInOrder(offers)
    signal?.throwIfAborted()
    const here = members.here.length
    if (here < needed) throw this.#tooFew(here, needed)
  }

  /** Takes every agent that can be discovered and is not a member. Errors are ignored; a later call may succeed. */
  async takeAvailable(): Promise<void> {
    const offers = await this.#discover().catch(() => [])
    await Promise.all(offers.map((offer) => this.#take(offer)))
  }

  /**
   * Takes agents in the order of their ids: one by one until one is taken, then all others at once. If two coordinators
   * gather at the same time, the coordinator that gets the first agent gets all of them, and the other gets none.
   */
  async #takeInOrder(offers: Offer[]): Promise<void> {
    offers.sort((a, b) => (a.id < b.id ? -1 : 1))
    let first = 0
    while (first < offers.length && !(await this.#takeOrThrow(offers[first] as Offer))) first++
    await Promise.all(offers.slice(first + 1).map((offer) => this.#takeOrThrow(offer)))
  }

  /** Returns the valid offers of agents that are not members, or no longer. */
  async #discover(): Promise<Offer[]> {
    const { bus, swarm, members, messenger } = this.#options
    const offers: Offer[] = []
    for (const found of await bus.discover(serviceOf(swarm))) {
      const offer = offerSchema.safeParse(found)
      if (!offer.success) {
        const [issue] = offer.error.issues
        messenger.drop('an offer', `${issue?.path.join('.')}: ${issue?.message}`)
      } else if (offer.data.protocol !== PROTOCOL) {
        this.#refuse(offer.data.name, otherVersion(offer.data.protocol))
      } else if (members.get(offer.data.id)?.state !== 'here') offers.push(offer.data)
    }
    return offers
  }

  /**
   * Takes an agent. If another coordinator has its lease but seems dead, waits until the lease has expired.
   *
   * @returns whether the agent was taken
   * @throws {SwarmError} if a living coordinator has it
   */
  async #takeOrThrow(offer: Offer): Promise<boolean> {
    const { swarm, beat, signal } = this.#options
    const start = performance.now()
    for (;;) {
      const answer = await this.#take(offer)
      if (answer?.answer !== 'taken') return answer !== undefined
      // A coordinator that has been silent since our first attempt may be dead. Then its lease expires soon.
      const waited = performance.now() - start
      const seemsDead = answer.silence >= Math.min(waited, 2 * beat)
      if (answer.alone !== null) {
        throw new SwarmError(
          `the agents of swarm ${swarm} go on with the run of ${answer.by} for up to ${duration(answer.alone)}: ` +
            'take it over with ebb pulse --resume RUN, wait, or use the agents of another swarm'
        )
      }
      if (!seemsDead || waited > LEASE + 2 * beat || signal?.aborted) {
        throw new SwarmError(
          `${answer.by} has swarm ${swarm}: wait until that run has ended, or use the agents of another swarm`
        )
      }
      await pause(RETRY, signal)
    }
  }

  /** Asks an agent for its lease. Returns undefined if the agent cannot be used. */
  async #take(offer: Offer): Promise<Extract<Answer, { answer: 'granted' | 'taken' }> | undefined> {
    const { members, messenger, who, ended, onJoined } = this.#options
    const before = members.get(offer.id)
    const member = before ?? members.add(offer)
    member.state = 'asked'
    member.lastHeard = performance.now()
    const answer = await messenger.ask(member, { order: 'lease', who })
    if (answer?.answer === 'granted' && !ended()) {
      member.state = 'here'
      member.capacity = answer.capacity
      member.records = answer.records
      member.startsServer = answer.startsServer
      onJoined(member)
      return answer
    }
    if (before === undefined) members.remove(member)
    else member.state = 'lost'
    if (answer?.answer === 'taken') return answer
    this.#refuse(member.name, answer?.answer === 'refused' ? answer.reason : 'it does not answer')
    return undefined
  }

  /**
   * Takes the agents of a run that another coordinator has left. Agents that do not know the run, or do not answer, are
   * lost.
   *
   * @throws {SwarmError} if a living coordinator has the run
   */
  async resume(members: readonly Member[]): Promise<void> {
    await Promise.all(members.map((member) => this.#resumeOne(member)))
  }

  async #resumeOne(member: Member): Promise<void> {
    const { messenger, who, beat, signal, onJoined, onLost } = this.#options
    const start = performance.now()
    for (;;) {
      const answer = await messenger.ask(member, { order: 'resume', who })
      if (answer?.answer === 'granted' || answer?.answer === 'kept') {
        onJoined(member)
        return
      }
      if (answer?.answer !== 'taken') {
        if (answer?.answer === 'refused') onLost(member, answer.reason)
        return
      }
      const waited = performance.now() - start
      if (answer.silence < Math.min(waited, 2 * beat) || waited > LEASE + 2 * beat || signal?.aborted) {
        throw new SwarmError(`${answer.by} has this run: end that process first, or leave the run to it`)
      }
      await pause(RETRY, signal)
    }
  }

  #tooFew(here: number, wanted: number): SwarmError {
    const { swarm, bus } = this.#options
    const where = `swarm ${swarm} (${bus.name})`
    const refused = this.#refused.size === 0 ? '' : `; not used: ${[...this.#refused].join('; ')}`
    return new SwarmError(
      wanted === 1
        ? `${where} has no agents${refused || `: start some, ebb agent --swarm ${swarm}`}`
        : `${where} has ${here} of ${wanted} agents${refused}`
    )
  }

  /** Reports an agent that is not used, once for each reason. */
  #refuse(agent: string, why: string): void {
    const refusal = `${agent}: ${why}`
    if (this.#refused.has(refusal)) return
    this.#refused.add(refusal)
    this.#options.onRefused(agent, why)
  }
}

/** Returns the default name of a coordinator: user, machine and pid. */
export function defaultWho(): string {
  let user = `uid ${process.getuid?.()}`
  try {
    user = userInfo().username
  } catch {
    // The user id has no name.
  }
  return `${user}@${hostname()} (pid ${process.pid})`
}
