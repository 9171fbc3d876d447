/** An agent: offers this machine to a swarm, and does what the co-ordinator that holds it orders. */

import { isIP } from 'node:net'
import { hostname } from 'node:os'
import { setImmediate as turn } from 'node:timers/promises'
import { invalidArgument } from 'ebb/sys'
import { addCauses, type Causes, type ClientOptions, type Opened } from '../client.js'
import { type Crowd, crowdOf, processesFor } from '../crowd.js'
import { pause } from '../pause.js'
import { AllowList } from './allow.js'
import type { Bus, Offering } from './bus.js'
import { capacityHere, capacityTo } from './capacity.js'
import { Drops } from './drop-log.js'
import { LEASE, Lease } from './lease.js'
import {
  type Answer,
  beatSchema,
  type Capacity,
  decode,
  encode,
  nameSchema,
  type Order,
  orderSchema,
  PROTOCOL,
  type Tell
} from './messages.js'
import { agentSubject, checkSwarmName, coordinatorSubject, everyone, serviceOf } from './subjects.js'

export interface AgentOptions {
  bus: Bus
  swarm: string
  /** What people call it. Default: the machine's name. */
  name?: string
  /** Where it may connect to. Default: loopback alone. */
  allow?: AllowList
  /** Addresses of this machine to connect from. Default: the kernel's choice. */
  sources?: readonly string[]
  /** Processes that hold connections, at most. Default: one for each CPU. */
  procs?: number
  /** Connections, at most. Default: what descriptors and ports allow. */
  most?: number
  /** Records the server on this machine; such an agent makes no connections, it would take the server's CPU. */
  recorder?: SideRecorder
  /** How crowds are made: tests have some without sockets. */
  crowdOf?: (options: ClientOptions, processes: number) => Promise<Crowd>
  /** How long a silent co-ordinator holds it, ms. */
  lease?: number
  onEvent?: (event: AgentEvent) => void
}

/** Records the server that is on the agent's machine. */
export interface SideRecorder {
  readonly port: number
  /** @throws Error in a sentence, for the co-ordinator */
  start(): Promise<SideRecording>
}

export interface SideRecording {
  readonly header: unknown
  /** Its time, ms. */
  now(): number
  /** Lines from number `first` on, as far as they fit into `bytes`; those before are forgotten. */
  take(first: number, bytes: number): { lines: unknown[]; ended: boolean }
  stop(): void
}

export type AgentEvent =
  | { event: 'offering'; id: string; capacity: Capacity }
  | { event: 'leased'; who: string }
  | { event: 'pulse'; pulse: AgentPulse }
  | { event: 'recording'; port: number }
  /** `closed`: connections that were open then. */
  | { event: 'freed'; why: string; closed: number }
  | { event: 'refused'; reason: string }
  | { event: 'dropped'; reason: string }
  | { event: 'away' }
  | { event: 'back' }

/** What this agent did in one pulse. */
export interface AgentPulse {
  /** Counts from 0 over the co-ordinator's run. */
  index: number
  target: string
  n: number
  /** Of all agents. */
  of: number
  opened: Opened
  lost: Causes
  /** From all open until they were closed. */
  heldMs: number
}

/** How often the lease is looked at, ms. */
const LOOK = 250
/** Answers that are kept, should the order come again. */
const KEPT = 64
/** A start further away than this is a mistake in somebody's clock, ms. */
const FARTHEST = 60_000
/** The end of a wait for an instant, that timers are too coarse for, ms. */
const COARSE = 3
/** Of a message, for the lines of a recording. */
const LINES_BYTES = 131_072

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never
type Reply = DistributiveOmit<Answer, 'v' | 'agent' | 'lease' | 'tell' | 'seq'>

export class Agent {
  /** Settles when it has left; with a reason when that was not its own will. */
  readonly ended: Promise<Error | undefined>

  readonly #options: AgentOptions
  readonly #capacity: Capacity
  readonly #allow: AllowList
  readonly #lease: Lease
  readonly #ends: (() => void)[] = []
  readonly #drops = new Drops((reason) => this.#event({ event: 'dropped', reason }))
  #offering: Offering | undefined
  #end: (error?: Error) => void = () => {}
  #leaving = false

  // What the present holder has ordered.
  /** By number: the answer, or undefined while it is being worked at. */
  #answers = new Map<number, Uint8Array | undefined>()
  #abort = new AbortController()
  /** Number of the last order to give up what is connecting. */
  #aborted = 0
  /** Given when the holder has no say any more. */
  #over = new AbortController()
  /** Orders are done one after the other. */
  #last: Promise<unknown> = Promise.resolve()
  #crowd: Crowd | undefined
  /** Connections that the crowd was made for. */
  #room = 0
  #target = ''
  #pulse: AgentPulse | undefined
  #heldSince = 0
  /** What the server closed, and nobody was told yet. */
  #lost: Causes = {}
  #recording: SideRecording | undefined

  readonly #statistics = { pulses: 0, connected: 0 }

  private constructor(options: AgentOptions) {
    this.#options = options
    this.#allow = options.allow ?? new AllowList()
    this.#lease = new Lease(options.lease ?? LEASE)
    const capacity = capacityHere(options.sources ?? [], options.procs)
    const most = options.recorder === undefined ? (options.most ?? Number.POSITIVE_INFINITY) : 0
    this.#capacity = { ...capacity, descriptors: Math.min(capacity.descriptors, most) }
    this.ended = new Promise((resolve) => {
      this.#end = resolve
    })
  }

  /** An agent that can be discovered, and ordered about. @throws TypeError, or the bus's error */
  static async start(options: AgentOptions): Promise<Agent> {
    checkAgent(options)
    const agent = new Agent(options)
    await agent.#start()
    return agent
  }

  get id(): string {
    return this.#offering?.id ?? ''
  }

  /** Connections that it holds now. */
  get open(): number {
    return this.#crowd?.open ?? 0
  }

  /** Closes all that it holds, tells its co-ordinator, and is not offered any more. */
  async leave(): Promise<void> {
    await this.#leave()
  }

  async #leave(error?: Error): Promise<void> {
    if (this.#leaving) return
    this.#leaving = true
    this.#tell({ tell: 'leaving', reason: 'it was stopped' })
    for (const end of this.#ends) end()
    await Promise.all([this.#offering?.withdraw().catch(() => {}), this.#free('it leaves')])
    this.#end(error)
  }

  async #start(): Promise<void> {
    const { bus, swarm, name = hostname(), recorder } = this.#options
    const timer = setInterval(() => void this.#look(), LOOK)
    this.#ends.push(
      () => clearInterval(timer),
      bus.subscribe(everyone(swarm), (bytes) => this.#onBeat(bytes)),
      bus.watch((up) => this.#event(up ? { event: 'back' } : { event: 'away' }))
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
      for (const end of this.#ends) end()
      throw error
    }
    this.#event({ event: 'offering', id: this.id, capacity: this.#capacity })
    void bus.closed.then((error) => this.#leave(error ?? new Error(`${bus.name} is closed`)))
    void this.#offering.ended.then(async (error) => {
      // Most often because the bus is closed, which knows better why.
      await pause(LOOK)
      await this.#leave(error)
    })
  }

  #onBeat(bytes: Uint8Array): void {
    const t1 = performance.now()
    let beat: ReturnType<typeof beatSchema.parse>
    try {
      beat = decode(beatSchema, bytes)
    } catch (error) {
      this.#drops.add('a beat', error)
      return
    }
    const { from, lease, t0, spread } = beat
    // Somebody else's.
    if (!this.#lease.renew(from, lease, t1)) return
    const answer = (): void => {
      const { open = 0, failed = 0 } = this.#crowd ?? {}
      this.#tell({ tell: 'beat', t0, t1, t2: performance.now(), open, failed })
    }
    if (spread === 0) answer()
    else setTimeout(answer, Math.random() * spread)
  }

  #onOrder(bytes: Uint8Array): void {
    let order: Order
    try {
      order = decode(orderSchema, bytes)
    } catch (error) {
      this.#drops.add('an order', error)
      return
    }
    if (order.order === 'lease') {
      void this.#onLease(order)
      return
    }
    if (!this.#lease.is(order.from, order.lease)) {
      this.#drops.add(`the order ${order.order}`, new Error('it is not from who holds this agent'))
      // To one who held it, and was silent for too long.
      if (order.from !== this.#lease.holder?.from) {
        this.#answerTo(order, {
          answer: 'refused',
          reason: 'it was free: the co-ordinator had been silent for too long'
        })
      }
      return
    }
    if (this.#answers.has(order.seq)) {
      const answer = this.#answers.get(order.seq)
      if (answer !== undefined) this.#publish(order.from, answer)
      return
    }
    this.#answers.set(order.seq, undefined)
    if (this.#answers.size > KEPT) this.#answers.delete(this.#answers.keys().next().value as number)
    // At once: what comes next may be the same co-ordinator's, who wants this agent anew.
    if (order.order === 'end') {
      this.#answerTo(order, { answer: 'done' })
      void this.#free('the run has ended')
    } else void this.#do(order)
  }

  async #onLease(order: Extract<Order, { order: 'lease' }>): Promise<void> {
    const { from, lease: token, who } = order
    // What the last holder had is closed before the next one has it.
    if (this.#lease.holder === undefined) await this.#last
    if (this.#leaving) return
    const { holder } = this.#lease
    const now = performance.now()
    if (!this.#lease.take({ from, token, who }, now)) {
      this.#answerTo(order, { answer: 'taken', by: holder?.who ?? '?', silence: this.#lease.silence(now) })
      return
    }
    if (holder === undefined) {
      this.#answers.clear()
      this.#aborted = 0
      this.#over = new AbortController()
      this.#event({ event: 'leased', who })
    }
    this.#answerTo(order, {
      answer: 'granted',
      capacity: this.#capacity,
      records: this.#options.recorder?.port ?? null
    })
  }

  async #do(order: Order): Promise<void> {
    let reply: Reply
    try {
      reply = await this.#reply(order)
    } catch (error) {
      const { message } = error as Error
      this.#event({ event: 'refused', reason: message })
      reply = { answer: 'refused', reason: harmless(message) }
    }
    if (!this.#lease.is(order.from, order.lease)) return
    this.#answers.set(order.seq, this.#answerTo(order, reply))
  }

  async #reply(order: Order): Promise<Reply> {
    switch (order.order) {
      case 'begin':
        return this.#inTurn(() => this.#begin(order))
      case 'connect': {
        const abort = new AbortController()
        this.#abort = abort
        // This order was lost on its way, and has come again after the one to give up.
        if (order.seq < this.#aborted) abort.abort()
        return this.#inTurn(() => this.#connect(order, abort.signal))
      }
      case 'abort':
        this.#aborted = order.seq
        this.#abort.abort()
        return { answer: 'done' }
      case 'lost':
        return this.#inTurn(() => this.#tellLost())
      case 'close':
        return this.#inTurn(() => this.#close(order.at))
      case 'record':
        // In turn: what is begun when the lease ends is stopped then.
        return this.#inTurn(() => this.#record())
      case 'lines':
        return this.#lines(order.first)
      default:
        return { answer: 'done' }
    }
  }

  async #begin({ n, how }: Extract<Order, { order: 'begin' }>): Promise<Reply> {
    const room = capacityTo(how.server.host, this.#capacity)
    if (n > room) throw new Error(`it is to hold ${n} connections to ${how.server.host}, and offers ${room}`)
    const address = await this.#allow.check(how.server)
    const { sources = [], procs = Number.POSITIVE_INFINITY } = this.#options
    const usable = sources.filter((source) => isIP(source) === isIP(address.host))
    if (sources.length > 0 && usable.length === 0) {
      throw new Error(`none of its source addresses (${sources.join(', ')}) can connect to ${address.host}`)
    }
    await this.#dispose()
    const make = this.#options.crowdOf ?? crowdOf
    this.#crowd = await make(
      {
        address,
        sources: usable,
        rate: how.rate ?? Number.POSITIVE_INFINITY,
        timeout: how.timeout,
        close: how.close,
        payload: how.payload === null || how.payload === '' ? null : Buffer.from(how.payload, 'base64'),
        active: how.active,
        expectEcho: how.expectEcho,
        part: { index: 0, of: 1 }
      },
      Math.min(procs, processesFor(n))
    )
    this.#room = n
    this.#target = `${how.server.host}:${how.server.port}`
    return { answer: 'done' }
  }

  async #connect({ pulse, n, of, at }: Extract<Order, { order: 'connect' }>, signal: AbortSignal): Promise<Reply> {
    const crowd = this.#begun()
    if (n > this.#room) throw new Error(`it is to connect ${n}, and has prepared ${this.#room}`)
    await instant(at, signal)
    const began = performance.now()
    const opened = await crowd.connect(n, signal)
    const latency = crowd.latency.encoded()
    crowd.latency.reset()
    this.#statistics.pulses++
    this.#statistics.connected += opened.connected
    this.#pulse = { index: pulse, target: this.#target, n, of, opened, lost: {}, heldMs: 0 }
    this.#heldSince = performance.now()
    return { answer: 'connected', opened, latency, began }
  }

  async #tellLost(): Promise<Reply> {
    await this.#takeLost()
    const lost = this.#lost
    this.#lost = {}
    return { answer: 'lost', lost }
  }

  async #close(at: number): Promise<Reply> {
    const crowd = this.#begun()
    await instant(at, this.#over.signal)
    // Asked before closing: what the server closes after us is not lost.
    await this.#takeLost()
    await crowd.close()
    await this.#takeLost()
    if (this.#pulse !== undefined) {
      this.#event({ event: 'pulse', pulse: { ...this.#pulse, heldMs: performance.now() - this.#heldSince } })
      this.#pulse = undefined
    }
    return { answer: 'done' }
  }

  async #takeLost(): Promise<void> {
    const lost = (await this.#crowd?.takeLost()) ?? {}
    addCauses(this.#lost, lost)
    if (this.#pulse !== undefined) addCauses(this.#pulse.lost, lost)
  }

  async #record(): Promise<Reply> {
    const { recorder } = this.#options
    if (recorder === undefined) throw new Error('it records no server: start it with --record-port')
    this.#recording?.stop()
    const recording = await recorder.start()
    this.#recording = recording
    this.#event({ event: 'recording', port: recorder.port })
    return { answer: 'recording', header: recording.header, at: performance.now(), t: recording.now() }
  }

  async #lines(first: number): Promise<Reply> {
    if (this.#recording === undefined) throw new Error('it does not record')
    return { answer: 'lines', first, ...this.#recording.take(first, LINES_BYTES) }
  }

  #begun(): Crowd {
    if (this.#crowd === undefined) throw new Error('it was not told where to connect to')
    return this.#crowd
  }

  async #look(): Promise<void> {
    if (!this.#lease.expired(performance.now())) return
    // This process may have been held up: what has come meanwhile is heard first.
    await turn()
    await turn()
    const { holder } = this.#lease
    if (holder === undefined || !this.#lease.expired(performance.now())) return
    void this.#free(
      `nothing was heard of ${holder.who} for ${Math.round(this.#lease.silence(performance.now()) / 100) / 10} s`
    )
  }

  /** Gives up and closes all that the holder had. */
  async #free(why: string): Promise<void> {
    const held = this.#lease.holder !== undefined
    this.#lease.free()
    this.#abort.abort()
    this.#over.abort()
    await this.#inTurn(async () => {
      const closed = this.open
      await this.#dispose()
      this.#recording?.stop()
      this.#recording = undefined
      this.#pulse = undefined
      this.#lost = {}
      if (held) this.#event({ event: 'freed', why, closed })
    })
  }

  async #dispose(): Promise<void> {
    const crowd = this.#crowd
    this.#crowd = undefined
    await crowd?.close()
    await crowd?.dispose()
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work)
    this.#last = done.catch(() => {})
    return done
  }

  /** Returns what was sent. */
  #answerTo({ from, lease, seq }: Order, reply: Reply): Uint8Array {
    const head = { v: PROTOCOL, agent: this.id, lease, tell: 'answer', seq }
    let bytes: Uint8Array
    try {
      bytes = encode({ ...head, ...reply })
      this.#options.bus.publish(coordinatorSubject(this.#options.swarm, from), bytes)
    } catch (error) {
      bytes = encode({ ...head, answer: 'refused', reason: harmless((error as Error).message) })
      this.#publish(from, bytes)
    }
    return bytes
  }

  /** To the holder, if there is one. */
  #tell(message: DistributiveOmit<Exclude<Tell, Answer>, 'v' | 'agent' | 'lease'>): void {
    const { holder } = this.#lease
    if (holder === undefined) return
    this.#publish(holder.from, encode({ v: PROTOCOL, agent: this.id, lease: holder.token, ...message }))
  }

  #publish(to: string, bytes: Uint8Array): void {
    try {
      this.#options.bus.publish(coordinatorSubject(this.#options.swarm, to), bytes)
    } catch (error) {
      this.#drops.add('an answer', error)
    }
  }

  #event(event: AgentEvent): void {
    this.#options.onEvent?.(event)
  }
}

/** What would be found out later, by somebody elsewhere. @throws TypeError */
export function checkAgent({
  swarm,
  name = hostname(),
  sources = []
}: Pick<AgentOptions, 'swarm' | 'name' | 'sources'>): void {
  checkSwarmName(swarm)
  if (!nameSchema.safeParse(name).success) {
    throw invalidArgument(
      `an agent's name is 1 to 100 characters, none of which control a terminal, not ${JSON.stringify(name)}`
    )
  }
  for (const source of sources) {
    if (isIP(source) === 0) {
      throw invalidArgument(`a source must be an IPv4 or IPv6 address, not ${JSON.stringify(source)}`)
    }
  }
}

/** Waits for an instant of this process's monotonic clock, to a fraction of a millisecond. @throws Error for one far away */
async function instant(at: number, signal?: AbortSignal): Promise<void> {
  const wait = at - performance.now()
  if (wait > FARTHEST) throw new Error(`it is to begin in ${Math.round(wait / 1000)} s: a clock is wrong`)
  if (wait > COARSE) await pause(wait - COARSE, signal)
  while (performance.now() < at && signal?.aborted !== true) await turn()
}

/** As a message has it: see `messages.ts`. */
function harmless(text: string): string {
  return text.replace(/[\p{Cc}\p{Cs}\p{Cf}\p{Zl}\p{Zp}]/gu, ' ').slice(0, 1000)
}
