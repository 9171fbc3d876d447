/** An agent: offers this machine to a swarm, and executes the orders of the coordinator that holds it. */
import { hostname } from 'node:os'
import { setImmediate as turn } from 'node:timers/promises'
import { invalidArgument } from 'ebb/sys'
import type { DistributiveOmit } from '../../units/types.js'
import { checkKernel } from '../kernel.js'
import { pause } from '../pause.js'
import { checkOwn } from '../sources.js'
import type { AgentEvent, AgentOptions } from './agent-options.js'
import { AllowList } from './allow.js'
import type { Offering } from './bus.js'
import { capacityHere, capacityTo } from './capacity.js'
import { DropLog } from './drop-log.js'
import { SwarmError } from './errors.js'
import { KeptRuns } from './kept-runs.js'
import { LEASE, Lease } from './lease.js'
import {
  type AgentMessage,
  type Answer,
  beatSchema,
  type Capacity,
  decode,
  encode,
  nameSchema,
  type Order,
  orderSchema,
  PROTOCOL
} from './messages.js'
import { type Reply, Session } from './session.js'
import { agentSubject, beatSubject, checkSwarmName, coordinatorSubject, serviceOf } from './subjects.js'

/** Milliseconds between two checks of the lease. */
const LEASE_CHECK = 250
/** Number of answers to keep, in case an order comes again. */
const KEPT_ANSWERS = 64

/**
 * Offers this machine to a swarm. One coordinator at a time holds an agent. If the coordinator is silent for too long,
 * the agent closes everything and can be taken again.
 */
export class Agent {
  /** Resolves when the agent has left the swarm: with undefined after {@link leave}, else with the error. */
  readonly ended: Promise<Error | undefined>

  readonly #options: AgentOptions
  readonly #capacity: Capacity
  readonly #allow: AllowList
  readonly #lease: Lease
  readonly #cleanUps: (() => void)[] = []
  readonly #dropLog = new DropLog((reason) => this.#emit({ event: 'dropped', reason }))
  readonly #statistics = { pulses: 0, connected: 0 }
  #offering: Offering | undefined
  #resolveEnded: (error?: Error) => void = () => {}
  #leaving = false

  /** The session of the present or last holder. */
  #session: Session | undefined
  /** Resolves when the last session has closed everything. */
  #closed: Promise<unknown> = Promise.resolve()
  /** Answers of the present session by sequence number; undefined while the order is being executed. */
  #answers = new Map<number, Uint8Array | undefined>()
  /** Results of runs whose coordinator has not come back yet. */
  readonly #kept = new KeptRuns()
  /** Session whose results are being kept. */
  #keeping: Session | undefined

  private constructor(options: AgentOptions) {
    this.#options = options
    this.#allow = options.allow ?? new AllowList()
    this.#lease = new Lease(options.lease ?? LEASE)
    const capacity = capacityHere(options.sources ?? [], options.procs)
    const most = options.recorder === undefined ? (options.most ?? Number.POSITIVE_INFINITY) : 0
    this.#capacity = { ...capacity, descriptors: Math.min(capacity.descriptors, most) }
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve
    })
  }

  /**
   * Starts an agent. Resolves when coordinators can discover it.
   *
   * @throws TypeError for a name or a source that is not valid; LabError (`EADDRNOTAVAIL`) for a source that is not an
   *   address of this machine
   * @throws {NatsError} if the bus cannot be used
   */
  static async start(options: AgentOptions): Promise<Agent> {
    checkAgent(options)
    checkKernel('this machine cannot be an agent that opens connections', 'start the agent on another machine')
    const agent = new Agent(options)
    await agent.#start()
    return agent
  }

  /** Id of the agent on the bus. */
  get id(): string {
    return this.#offering?.id ?? ''
  }

  /** Number of connections that it holds. */
  get open(): number {
    return this.#session?.open ?? 0
  }

  /** Closes all connections, informs the coordinator, and leaves the swarm. May be called again. */
  async leave(): Promise<void> {
    await this.#leave()
  }

  async #leave(error?: Error): Promise<void> {
    if (this.#leaving) return
    this.#leaving = true
    this.#send({ tell: 'leaving', reason: 'it was stopped' })
    for (const cleanUp of this.#cleanUps) cleanUp()
    await Promise.all([this.#offering?.withdraw().catch(() => {}), this.#free('it leaves')])
    this.#resolveEnded(error)
  }

  async #start(): Promise<void> {
    const { bus, swarm, name = hostname(), recorder } = this.#options
    const timer = setInterval(() => void this.#checkLease(), LEASE_CHECK)
    this.#cleanUps.push(
      () => clearInterval(timer),
      bus.subscribe(beatSubject(swarm), (bytes) => this.#onBeat(bytes)),
      bus.watch((up) => this.#emit(up ? { event: 'back' } : { event: 'away' }))
    )
    const about = {
      protocol: String(PROTOCOL),
      name,
      connections: String(capacityTo('', this.#capacity)),
      allow: String(this.#allow),
      ...(recorder !== undefined && { records: String(recorder.port) })
    }
    try {
      this.#offering = await bus.offer(serviceOf(swarm), about, {
        subject: (id) => agentSubject(swarm, id),
        receive: (bytes) => this.#onOrder(bytes),
        statistics: () => ({ open: this.open, ...this.#statistics })
      })
    } catch (error) {
      for (const cleanUp of this.#cleanUps) cleanUp()
      throw error
    }
    this.#emit({ event: 'offering', id: this.id, capacity: this.#capacity })
    void bus.closed.then((error) => this.#leave(error ?? new SwarmError(`${bus.name} is closed`)))
    void this.#offering.ended.then(async (error) => {
      // An offering mostly ends because the bus is closed. Waits for the bus, whose error says more.
      await pause(LEASE_CHECK)
      await this.#leave(error)
    })
  }

  #onBeat(bytes: Uint8Array): void {
    const t1 = performance.now()
    let beat: ReturnType<typeof beatSchema.parse>
    try {
      beat = decode(beatSchema, bytes)
    } catch (error) {
      this.#dropLog.add('a heartbeat', (error as Error).message)
      return
    }
    const { from, lease, t0, spread } = beat
    const isHolder = this.#lease.renew(from, lease, t1)
    // Heartbeats reach all agents of the swarm. This one may be for the agents of another coordinator.
    if (!isHolder && this.#kept.get(lease, t1) === undefined) return
    const answer = (): void => {
      const session = isHolder ? this.#session : undefined
      const { open = 0, failed = 0 } = session ?? {}
      const alone = session?.state !== 'led'
      const times = { t0, t1, t2: performance.now() }
      this.#publish(from, encode({ v: PROTOCOL, agent: this.id, lease, tell: 'beat', ...times, open, failed, alone }))
    }
    if (spread === 0) answer()
    else setTimeout(answer, Math.random() * spread)
  }

  #onOrder(bytes: Uint8Array): void {
    let order: Order
    try {
      order = decode(orderSchema, bytes)
    } catch (error) {
      this.#dropLog.add('an order', (error as Error).message)
      return
    }
    if (order.order === 'lease') void this.#onLease(order)
    else if (order.order === 'resume') this.#onResume(order)
    else if (this.#isKept(order)) this.#answerFromKept(order)
    else if (!this.#lease.isHeldBy(order.from, order.lease)) this.#rejectStranger(order)
    else if (this.#answers.has(order.seq)) this.#repeatAnswer(order)
    else this.#accept(order)
  }

  /** Drops an order that is not from the holder. A coordinator that lost its lease is told so. */
  #rejectStranger(order: Order): void {
    this.#dropLog.add(`the order ${order.order}`, 'it is not from the coordinator that holds this agent')
    if (order.from === this.#lease.holder?.from) return
    const reason = 'the coordinator had lost its lease, because it was silent for too long'
    this.#answer(order, { answer: 'refused', reason })
  }

  #repeatAnswer(order: Order): void {
    const answer = this.#answers.get(order.seq)
    if (answer !== undefined) this.#publish(order.from, answer)
  }

  #accept(order: Order): void {
    this.#answers.set(order.seq, undefined)
    if (this.#answers.size > KEPT_ANSWERS) this.#answers.delete(this.#answers.keys().next().value as number)
    if (order.order !== 'end') {
      // The coordinator no longer leads, because another agent has gone on alone.
      if (order.order === 'result') this.#goAlone()
      void this.#execute(order)
      return
    }
    // Ends the lease at once, because the next message may be the same coordinator's order for a new lease.
    this.#answer(order, { answer: 'done' })
    void this.#free('the run has ended')
  }

  async #onLease(order: Extract<Order, { order: 'lease' }>): Promise<void> {
    const { from, lease: token, who } = order
    // Everything of the last holder is closed before the next one gets the lease.
    if (this.#lease.holder === undefined) await this.#closed
    if (this.#leaving) return
    const { holder } = this.#lease
    const now = performance.now()
    if (!this.#lease.take({ from, token, who }, now)) {
      this.#answer(order, this.#taken())
      return
    }
    if (holder === undefined) {
      this.#answers.clear()
      this.#session = new Session({
        agent: this.#options,
        capacity: this.#capacity,
        allow: this.#allow,
        statistics: this.#statistics,
        onEvent: (event) => this.#emit(event)
      })
      this.#emit({ event: 'leased', who })
    }
    const { recorder } = this.#options
    this.#answer(order, {
      answer: 'granted',
      capacity: this.#capacity,
      records: recorder?.port ?? null,
      startsServer: recorder?.startsServer ?? false
    })
  }

  /** Answers that another coordinator has the lease. */
  #taken(): Reply {
    const now = performance.now()
    const silence = this.#lease.silence(now)
    const isAlone = this.#session !== undefined && this.#session.state !== 'led'
    const alone = isAlone ? Math.max(0, (this.#session?.grace ?? 0) - silence) : null
    return { answer: 'taken', by: this.#lease.holder?.who ?? '?', silence, alone }
  }

  /** Gives the lease of a run to the coordinator that resumes it: it knows the secret of the run. */
  #onResume(order: Extract<Order, { order: 'resume' }>): void {
    const { from, lease: token, who } = order
    const { holder } = this.#lease
    const now = performance.now()
    if (holder?.token !== token) {
      const known = this.#kept.get(token, now) !== undefined
      this.#answer(order, known ? { answer: 'kept' } : { answer: 'refused', reason: 'it does not know this run' })
      return
    }
    if (holder.from !== from) {
      // Only one coordinator at a time: the last one has to be silent for as long as a lease lasts.
      if (!this.#lease.expired(now)) {
        this.#answer(order, this.#taken())
        return
      }
      this.#goAlone()
      this.#lease.transfer({ from, token, who }, now)
      this.#answers.clear()
      this.#emit({ event: 'resumed', who })
    }
    const records = this.#options.recorder?.port ?? null
    this.#answer(order, { answer: 'granted', capacity: this.#capacity, records, startsServer: false })
  }

  /** Returns whether an order is about a run whose results are kept. */
  #isKept({ lease }: Order): boolean {
    return this.#lease.holder?.token !== lease && this.#kept.get(lease, performance.now()) !== undefined
  }

  #answerFromKept(order: Order): void {
    const journal = this.#kept.get(order.lease, performance.now())
    if (order.order === 'end') this.#kept.delete(order.lease)
    if (order.order === 'result' && journal !== undefined) {
      this.#answer(order, { answer: 'result', ...journal.view(order.pulse), ended: true })
    } else this.#answer(order, { answer: 'done' })
  }

  async #execute(order: Order): Promise<void> {
    const session = this.#session
    if (session === undefined) return
    let reply: Reply
    try {
      reply = await session.execute(order)
    } catch (error) {
      const { message } = error as Error
      this.#emit({ event: 'refused', reason: message })
      reply = { answer: 'refused', reason: printable(message) }
    }
    if (session !== this.#session || !this.#lease.isHeldBy(order.from, order.lease)) return
    this.#answers.set(order.seq, this.#answer(order, reply))
  }

  async #checkLease(): Promise<void> {
    if (!this.#lease.expired(performance.now())) return
    // This process may have been blocked. One turn reads the heartbeats that came meanwhile, the next one handles them.
    await turn()
    await turn()
    const { holder } = this.#lease
    const session = this.#session
    const now = performance.now()
    if (holder === undefined || session === undefined || !this.#lease.expired(now)) return
    const silence = this.#lease.silence(now)
    if (silence < session.grace && session.state !== 'ended') {
      this.#goAlone()
      return
    }
    const why = `nothing was heard of ${holder.who} for ${Math.round(silence / 100) / 10} s`
    if (session.state === 'led') void this.#free(why)
    else void this.#keepResults(session, holder.token, why)
  }

  /** Goes on with the part of the plan, until the coordinator comes back, the part is done, or the grace is over. */
  #goAlone(): void {
    const { holder } = this.#lease
    const session = this.#session
    if (holder === undefined || session?.state !== 'led') return
    this.#emit({ event: 'alone', who: holder.who, grace: session.grace })
    session.goOn().catch((error: unknown) => {
      // The crowd cannot connect any more. What it has done until then is kept.
      this.#emit({ event: 'refused', reason: (error as Error).message })
      return session.halt()
    })
  }

  /** Keeps the results of a session that went on alone, and frees the agent. */
  async #keepResults(session: Session, token: string, why: string): Promise<void> {
    if (this.#keeping === session) return
    this.#keeping = session
    await session.halt()
    if (this.#leaving || this.#session !== session) return
    this.#kept.add(token, session.journal, performance.now())
    await this.#free(`${why}; the results are kept`)
  }

  /** Ends the lease and closes everything. */
  async #free(why: string): Promise<void> {
    const held = this.#lease.holder !== undefined
    this.#lease.free()
    const ending = this.#session?.end() ?? Promise.resolve(0)
    const freed = ending.then((closed) => {
      if (held) this.#emit({ event: 'freed', why, closed })
    })
    this.#closed = freed.catch(() => {})
    await freed
  }

  /** Sends an answer to an order and returns what was sent. */
  #answer({ from, lease, seq }: Order, reply: Reply): Uint8Array {
    const head = { v: PROTOCOL, agent: this.id, lease, tell: 'answer', seq }
    let bytes: Uint8Array
    try {
      bytes = encode({ ...head, ...reply })
      this.#options.bus.publish(coordinatorSubject(this.#options.swarm, from), bytes)
    } catch (error) {
      bytes = encode({ ...head, answer: 'refused', reason: printable((error as Error).message) })
      this.#publish(from, bytes)
    }
    return bytes
  }

  /** Sends a message to the holder, if there is one. */
  #send(message: DistributiveOmit<Exclude<AgentMessage, Answer>, 'v' | 'agent' | 'lease'>): void {
    const { holder } = this.#lease
    if (holder === undefined) return
    this.#publish(holder.from, encode({ v: PROTOCOL, agent: this.id, lease: holder.token, ...message }))
  }

  #publish(to: string, bytes: Uint8Array): void {
    try {
      this.#options.bus.publish(coordinatorSubject(this.#options.swarm, to), bytes)
    } catch (error) {
      this.#dropLog.add('an answer', (error as Error).message)
    }
  }

  #emit(event: AgentEvent): void {
    this.#options.onEvent?.(event)
  }
}

/**
 * Checks options whose mistakes would otherwise show up later and on another machine.
 *
 * @throws TypeError for a name or a source that is not valid
 */
export function checkAgent({
  swarm,
  name = hostname(),
  sources = []
}: Pick<AgentOptions, 'swarm' | 'name' | 'sources'>): void {
  checkSwarmName(swarm)
  if (!nameSchema.safeParse(name).success) {
    throw invalidArgument(
      `an agent's name is 1 to 100 characters without control characters, not ${JSON.stringify(name)}`
    )
  }
  for (const source of sources) checkOwn(source)
}

/** Makes text fit for the protocol: at most 1000 characters, without control characters. */
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cs}\p{Cf}\p{Zl}\p{Zp}]/gu, ' ').slice(0, 1000)
}
