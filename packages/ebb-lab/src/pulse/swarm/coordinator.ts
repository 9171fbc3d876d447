/** The coordinator of a swarm: takes its agents for a run, gives them orders, and notices when one of them is lost. */
import { pause } from '../pause.js'
import type { Bus } from './bus.js'
import { SwarmError } from './errors.js'
import { type Command, type Member, MemberList } from './member.js'
import { type AgentMessage, type Answer, type Order, PROTOCOL } from './messages.js'
import { Messenger } from './messenger.js'
import { defaultWho, Recruiter } from './recruiter.js'
import type { SwarmReport } from './report.js'
import { checkSwarmName } from './subjects.js'

/** How to use a swarm. */
export interface SwarmOptions {
  /** The bus that the agents are on. The caller closes it. */
  bus: Bus
  /** Name of the swarm: 1 to 64 letters, digits, `-` and `_`. */
  swarm: string
  /** Number of agents to wait for, up to 30 s. Default: takes the agents that are there now; at least one. */
  agents?: number
  /** Whether the loss of one agent ends the run. Default: false, the run goes on with the others. */
  strict?: boolean
  /** Milliseconds between two heartbeats. Default: 500. */
  beat?: number
  /**
   * Makes the run resumable: agents that lose this coordinator go on with their part of the plan, and the coordinator
   * waits for the bus. Default: an agent without a coordinator closes everything.
   */
  resumable?: {
    /** Secret of the run. */
    lease: string
    /** Milliseconds to wait for the bus. */
    grace: number
  }
  /** Name of this coordinator, for people who want the swarm at the same time. Default: user, machine and pid. */
  who?: string
  /** Cancels {@link Coordinator.gather}. */
  signal?: AbortSignal
  /** Called when something happens to the swarm. */
  onEvent?: (event: SwarmEvent) => void
}

/** Something that happened to the swarm. */
export type SwarmEvent =
  /** The coordinator holds an agent. `records`: port of the server that it records, or null. */
  | { event: 'joined'; agent: string; records: number | null }
  /** An agent is lost. */
  | { event: 'lost'; agent: string; why: string }
  /** An agent is not used. */
  | { event: 'refused'; agent: string; why: string }
  /** A message was dropped, because it was not valid or not from the agent that it names. */
  | { event: 'dropped'; reason: string }
  /** The server that carries the messages is not reachable. */
  | { event: 'away' }
  /** The server that carries the messages is reachable again. */
  | { event: 'back' }
  /** Agents have gone on alone, because they heard nothing of this process. It collects their results from here on. */
  | { event: 'alone' }

/** What a resumed run has done so far. */
export interface ResumedRun {
  /** Its agents. */
  agents: readonly Pick<Member, 'id' | 'name' | 'total' | 'part' | 'why'>[]
  /** As in `SwarmReport`. */
  spread: number | null
  error: number | null
}

/** Default milliseconds between two heartbeats. Every agent answers every heartbeat. */
const BEAT = 500
/** Number of heartbeats without an answer after which an agent is lost: 2.25 s, which is before its lease expires. */
const MAX_SILENCE = 4.5
/** Milliseconds to wait at the end until agents have closed everything. */
const END_TIMEOUT = 1000
/** Number of heartbeats at the start. They compare the clocks well enough for the first pulse. */
const FIRST_BEATS = 8
/** Milliseconds between two of the first heartbeats. */
const FIRST_BEAT_INTERVAL = 20
/** With more agents than this, the answers to a heartbeat are spread. */
const MANY_AGENTS = 20
/** Milliseconds over which the answers of many agents are spread. */
const SPREAD = 200
/** Milliseconds to wait for agents to come back when all are lost. */
const RETURN_TIMEOUT = 10_000
/** Milliseconds between two attempts to get agents back. */
const RETRY = 250
/** Milliseconds for agents to reconnect to the bus after it has come back. */
const RECONNECT = 5000
/** Orders to agents that go on alone. */
const AFTER_DETACHMENT: ReadonlySet<Order['order']> = new Set(['result', 'halt', 'end'])

/**
 * Holds the agents of a swarm for one or several runs.
 *
 * Create it with {@link Coordinator.gather} and pass it to `pulse()` as the option `swarm`. After the last run, call
 * {@link Coordinator.end}.
 */
export class Coordinator {
  /** Name of the swarm. */
  readonly swarm: string
  /** Aborted when an agent is lost and the option `strict` is set. Its reason is a {@link SwarmError}. */
  readonly stopped: AbortSignal
  /** Aborted when no agent is left that makes connections. A new signal replaces it when agents come back. */
  gone: AbortSignal
  /** Aborted when agents have gone on alone, so that this process can no longer lead them. */
  readonly detached: AbortSignal

  readonly #options: SwarmOptions
  readonly #bus: Bus
  readonly #period: number
  readonly #members = new MemberList()
  readonly #messenger: Messenger
  readonly #recruiter: Recruiter
  readonly #cleanUps: (() => void)[] = []
  readonly #stop = new AbortController()
  readonly #detach = new AbortController()
  /** Time (ms) since which the bus is not reachable. */
  #awaySince = 0
  /** Controller of the signal {@link gone}. */
  #allGone = new AbortController()
  #lastTick = performance.now()
  /** Why the bus was closed, if not by its owner. */
  #busError: Error | undefined
  /** Milliseconds between the first and the last start of a pulse, the longest so far. */
  #spread: number | null = null
  /** Maximum error of a start time, ms. */
  #error: number | null = null
  #ended = false

  private constructor(options: SwarmOptions) {
    this.#options = options
    this.#bus = options.bus
    this.#period = options.beat ?? BEAT
    this.swarm = checkSwarmName(options.swarm)
    this.stopped = this.#stop.signal
    this.gone = this.#allGone.signal
    this.detached = this.#detach.signal
    const { bus, swarm, signal } = options
    this.#messenger = new Messenger({
      bus,
      swarm,
      lease: options.resumable?.lease,
      members: this.#members,
      onMessage: (member, message, receivedAt) => this.#onMessage(member, message, receivedAt),
      onDropped: (reason) => this.#emit({ event: 'dropped', reason })
    })
    this.#recruiter = new Recruiter({
      bus,
      swarm,
      signal,
      members: this.#members,
      messenger: this.#messenger,
      who: options.who ?? defaultWho(),
      beat: this.#period,
      ended: () => this.#ended,
      onJoined: ({ name, records }) => this.#emit({ event: 'joined', agent: name, records }),
      onLost: (member, why) => this.lose(member, why),
      onRefused: (agent, why) => this.#emit({ event: 'refused', agent, why })
    })
  }

  /**
   * Takes all agents of a swarm.
   *
   * @throws {SwarmError} if there are too few agents, or another coordinator holds them
   * @throws {NatsError} if the bus cannot be used
   * @throws TypeError for a name that is not valid; the reason of `signal` if it is aborted
   */
  static async gather(options: SwarmOptions): Promise<Coordinator> {
    const coordinator = new Coordinator(options)
    try {
      coordinator.#start()
      await coordinator.#recruiter.gather(options.agents)
      await coordinator.#compareClocks()
    } catch (error) {
      await coordinator.end()
      // When the bus has failed, everything else fails after it.
      throw coordinator.#busError ?? error
    }
    return coordinator
  }

  /**
   * Takes the agents of a run that another coordinator has left, to collect their results.
   *
   * @throws as {@link gather}; {@link SwarmError} if a living coordinator has the run
   */
  static async resume(options: SwarmOptions, { agents, spread, error }: ResumedRun): Promise<Coordinator> {
    const coordinator = new Coordinator(options)
    coordinator.#spread = spread
    coordinator.#error = error
    try {
      coordinator.#start()
      for (const { id, name, total, part, why } of agents) {
        const member = coordinator.#members.add({ id, name, protocol: PROTOCOL })
        Object.assign(member, { total, part, why, state: why === null ? 'here' : 'lost' })
        member.lastHeard = performance.now()
      }
      await coordinator.#recruiter.resume(coordinator.#members.here)
      coordinator.#detach.abort()
      await coordinator.#compareClocks()
    } catch (error) {
      coordinator.abandon()
      throw coordinator.#busError ?? error
    }
    return coordinator
  }

  /** Id of this coordinator on the bus. */
  get id(): string {
    return this.#messenger.id
  }

  /** All agents that it holds, sorted by name. `records`: port of the server that the agent records, or null. */
  get agents(): { name: string; records: number | null }[] {
    const agents = this.#members.here.map(({ name, records }) => ({ name, records }))
    return agents.sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  /** All agents of the run, also those that are lost. */
  get all(): Member[] {
    return this.#members.all
  }

  /** Agents that it holds and that make connections. */
  get pulsing(): Member[] {
    return this.#members.pulsing
  }

  /**
   * Returns the agent that records the server on `port`.
   *
   * @throws {SwarmError} if there is no such agent, or several
   */
  recorderOf(port: number): Member {
    const found = this.#members.here.filter(({ records }) => records === port)
    const [first] = found
    if (first === undefined) {
      throw new SwarmError(
        `no agent of swarm ${this.swarm} records port ${port}: ` +
          `start one beside the server, ebb agent --record-port ${port}`
      )
    }
    if (found.length === 1) return first
    const names = found.map(({ name }) => name).join(', ')
    throw new SwarmError(
      `${found.length} agents of swarm ${this.swarm} record port ${port} (${names}): stop all but one of them`
    )
  }

  /** Number of open connections, as the agents last reported. */
  get open(): number {
    return this.pulsing.reduce((sum, { open }) => sum + open, 0)
  }

  /** Number of failed connects of the current pulse, as the agents last reported. */
  get failing(): number {
    return this.pulsing.reduce((sum, { failing }) => sum + failing, 0)
  }

  /** Whether an agent was lost. */
  get degraded(): boolean {
    return this.#members.degraded
  }

  /** Returns the results so far, over all runs with this coordinator. */
  report(): SwarmReport {
    const agents = this.#members.all.filter(({ records }) => records === null)
    return {
      name: this.swarm,
      degraded: this.degraded,
      agents: agents.map(({ name, total, why }) => ({ name, ...structuredClone(total), gone: why })),
      spread: this.#spread,
      error: this.#error
    }
  }

  /** Records the start times of one pulse by the coordinator's clock, with the maximum error of each, in ms. */
  addStarts(starts: readonly { at: number; error: number }[]): void {
    if (starts.length === 0) return
    const times = starts.map((start) => start.at)
    this.#spread = Math.max(this.#spread ?? 0, Math.max(...times) - Math.min(...times))
    this.#error = Math.max(this.#error ?? 0, ...starts.map((start) => start.error))
  }

  /** @deprecated Use {@link addStarts}. */
  began(starts: readonly { at: number; error: number }[]): void {
    this.addStarts(starts)
  }

  /** Returns a time by this process's clock (ms), late enough that an order sent now reaches every agent before it. */
  soon(): number {
    const { here } = this.#members
    const roundTrips = here.map(({ clock }) => 2 * (clock.best?.error ?? 0))
    return performance.now() + 100 + 0.2 * here.length + 2 * Math.max(0, ...roundTrips)
  }

  /**
   * Gives an order to an agent and resolves with the answer, or with undefined if the agent is lost.
   *
   * @throws {MessageError} or NatsError if the order is too large
   */
  async ask(member: Member, command: Command): Promise<Answer | undefined> {
    if (this.detached.aborted && !AFTER_DETACHMENT.has(command.order)) return undefined
    return await this.#messenger.ask(member, command)
  }

  /** Gives up an agent. The connections that it holds are lost. */
  lose(member: Member, why: string): void {
    const previous = member.state
    if (previous === 'lost') return
    member.state = 'lost'
    member.prepared = ''
    member.open = 0
    if (previous === 'here') {
      member.why = why
      this.#emit({ event: 'lost', agent: member.name, why })
      if (this.pulsing.length === 0) this.#allGone.abort()
      if (this.#options.strict === true) this.#stop.abort(new SwarmError(`the agent ${member.name} was lost: ${why}`))
    }
    member.dropPending()
  }

  /**
   * Takes lost agents again, and new ones. If no agent is left, waits up to 10 s for one. Does nothing if no agent was
   * lost, or with the option `strict`.
   */
  async replenish(signal?: AbortSignal): Promise<void> {
    if (!this.degraded || this.#options.strict === true || this.detached.aborted) return
    const deadline = performance.now() + RETURN_TIMEOUT
    for (;;) {
      if (this.#bus.up) {
        await this.#recruiter.takeAvailable()
        if (this.pulsing.length > 0) {
          if (this.gone.aborted) {
            this.#allGone = new AbortController()
            this.gone = this.#allGone.signal
          }
          if (this.#hasUnknownClock()) await this.#compareClocks()
        }
      }
      if (this.pulsing.length > 0 || performance.now() > deadline || signal?.aborted) return
      await pause(RETRY, signal)
    }
  }

  /** Frees all agents. They close the connections that they still hold. May be called again. */
  async end(): Promise<void> {
    if (this.#ended) return
    const freed = this.#members.here.map((member) => this.ask(member, { order: 'end' }))
    // An agent that does not receive the order frees itself when its lease expires.
    const waiting = new AbortController()
    await Promise.race([Promise.all(freed), pause(this.#bus.up ? END_TIMEOUT : 0, waiting.signal)])
    waiting.abort()
    this.abandon()
  }

  /** Ends this coordinator without an order to the agents. May be called again. */
  abandon(): void {
    if (this.#ended) return
    this.#ended = true
    for (const cleanUp of this.#cleanUps) cleanUp()
    for (const member of this.#members.all) {
      // From now on, orders resolve at once with undefined.
      member.state = 'lost'
      member.dropPending()
    }
  }

  #start(): void {
    const timer = setInterval(() => this.#tick(), this.#period)
    this.#cleanUps.push(
      () => clearInterval(timer),
      this.#messenger.listen(),
      this.#bus.watch((up) => this.#emit({ event: up ? 'back' : 'away' }))
    )
    void this.#bus.closed.then((error) => {
      if (this.#ended) return
      this.#busError = error
      const why = error?.message ?? `${this.#bus.name} is closed`
      for (const member of this.#members.all) this.lose(member, why)
    })
  }

  /** Sends heartbeats until the offset of every agent's clock is known. */
  async #compareClocks(): Promise<void> {
    const deadline = performance.now() + MAX_SILENCE * this.#period
    for (let i = 0; i < FIRST_BEATS || (this.#hasUnknownClock() && performance.now() < deadline); i++) {
      this.#beat()
      await pause(this.#members.here.length > MANY_AGENTS ? SPREAD / FIRST_BEATS : FIRST_BEAT_INTERVAL)
    }
  }

  #hasUnknownClock(): boolean {
    return this.#members.here.some(({ clock }) => clock.best === undefined)
  }

  /** Sends a heartbeat, repeats orders that are not answered, and gives up silent agents. */
  #tick(): void {
    const now = performance.now()
    // While this process was blocked, it received nothing, so that time does not count as silence of an agent.
    const blocked = Math.max(0, now - this.#lastTick - this.#period)
    this.#lastTick = now
    this.#beat()
    for (const member of this.#members.all) {
      if (member.state === 'lost') continue
      if (blocked > this.#period) member.lastHeard += blocked
      if (this.#isWaitingForBus(now)) member.lastHeard = now + RECONNECT
      if (now - member.lastHeard > MAX_SILENCE * this.#period) {
        const away = this.#bus.up ? '' : `, ${this.#bus.name} is away`
        this.lose(member, `nothing was heard of it for ${((now - member.lastHeard) / 1000).toFixed(1)} s${away}`)
      }
      this.#messenger.repeat(member)
    }
  }

  /** Returns whether agents are not given up, because they may go on alone until the bus is back. */
  #isWaitingForBus(now: number): boolean {
    const { resumable } = this.#options
    if (this.#bus.up) this.#awaySince = now
    if (this.#options.signal?.aborted) return false
    return resumable !== undefined && !this.#bus.up && now - this.#awaySince < resumable.grace
  }

  #beat(): void {
    this.#messenger.beat(this.#members.size > MANY_AGENTS ? SPREAD : 0)
  }

  #onMessage(member: Member, message: Exclude<AgentMessage, Answer>, receivedAt: number): void {
    if (message.tell === 'leaving') {
      this.lose(member, `it left: ${message.reason}`)
      return
    }
    const { t0, t1, t2, open, failed, alone } = message
    member.clock.add({ t0, t1, t2, t3: receivedAt })
    member.open = open
    member.failing = failed
    if (alone && !this.detached.aborted) this.#stopLeading()
  }

  /** Ends everything that waits for agents as their leader. From here on, their results are collected. */
  #stopLeading(): void {
    this.#emit({ event: 'alone' })
    this.#detach.abort()
    this.#allGone.abort()
    for (const member of this.#members.all) member.dropPending()
  }

  #emit(event: SwarmEvent): void {
    if (!this.#ended) this.#options.onEvent?.(event)
  }
}
