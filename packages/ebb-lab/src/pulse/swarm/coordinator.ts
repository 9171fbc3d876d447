/** The co-ordinator: gathers the agents of a swarm, holds them, and notices when one is lost. */
import { hostname, userInfo } from 'node:os'
import type { Causes } from '../client.js'
import { pause } from '../pause.js'
import type { Bus } from './bus.js'
import { Drops } from './drop-log.js'
import { LEASE } from './lease.js'
import { newToken } from './local-bus.js'
import { type Command, Member } from './member.js'
import { type Answer, decode, encode, type Offer, offerSchema, PROTOCOL, type Tell, tellSchema } from './messages.js'
import { agentSubject, checkSwarmName, coordinatorSubject, everyone, serviceOf } from './subjects.js'

export interface SwarmOptions {
  bus: Bus
  swarm: string
  /** Agents to wait for, up to half a minute. Default: those that are there. */
  agents?: number
  /** An agent that is lost ends the run. Default: it goes on without. */
  strict?: boolean
  /** How often it says that it is there, ms. Default: 500. */
  beat?: number
  /** Who this is, to others who want the swarm. Default: user, machine and pid. */
  who?: string
  signal?: AbortSignal
  onEvent?: (event: SwarmEvent) => void
}

export type SwarmEvent =
  | { event: 'joined'; agent: string; records: number | null }
  | { event: 'lost'; agent: string; why: string }
  /** An agent that is not used. */
  | { event: 'refused'; agent: string; why: string }
  /** A message that was not understood, or not from whom it said. */
  | { event: 'dropped'; reason: string }
  | { event: 'away' }
  | { event: 'back' }

/** What each agent did, and how well they kept together. */
export interface SwarmReport {
  name: string
  /** An agent was lost: there were fewer connections than planned, or they came from others. */
  degraded: boolean
  agents: AgentReport[]
  /** From the first agent's start to the last one's, by the co-ordinator's clock: the worst of all pulses, ms. */
  spread: number | null
  /** The most that a start can have been told wrong, because clocks are compared over a network, ms. */
  error: number | null
}

export interface AgentReport {
  name: string
  connected: number
  /** By errno; `EAGENTLOST`: it was lost before it told. */
  failed: Causes
  /** As `failed`; while they were held. */
  lost: Causes
  unanswered: Causes
  /** Why it was lost; null: it was not. */
  gone: string | null
}

/** A swarm that cannot be used, in a sentence. */
export class SwarmError extends Error {
  readonly code = 'ERR_SWARM'
}

/** Cause of what an agent held, or was to connect, when it was lost. */
export const AGENT_LOST = 'EAGENTLOST'

/** How often it says that it is there, and asks whether they are, ms. */
const BEAT = 500
/** An agent that was silent for so many beats is lost: noticed within 3 s, before its lease ends. */
const SILENCE = 4.5
/** For agents to say that they have closed all, at the end, ms. */
const FAREWELL = 1000
/** A few beats at once compare the clocks well enough for the first pulse. */
const FIRST_BEATS = 8
const FIRST_BEAT = 20
/** So many agents answer a beat within so many ms, not all at once. */
const MANY = 20
const SPREAD = 200
/** To wait for agents that were asked for, and for agents to come back when all are lost, ms. */
const GATHER = 30_000
const RETURN = 10_000
const LOOK = 250

export class Coordinator {
  readonly id = newToken()
  readonly swarm: string
  /** Given when an agent is lost and `strict` is set. */
  readonly stopped: AbortSignal
  /** Given when no agent that makes connections is left. */
  gone: AbortSignal

  readonly #options: SwarmOptions
  readonly #bus: Bus
  readonly #lease = newToken()
  readonly #period: number
  readonly #members = new Map<string, Member>()
  readonly #ends: (() => void)[] = []
  readonly #stop = new AbortController()
  #leave = new AbortController()
  readonly #refused = new Set<string>()
  #lastTick = performance.now()
  readonly #drops = new Drops((reason) => this.#event({ event: 'dropped', reason }))
  /** What the bus had against us, when it is closed. */
  #broken: Error | undefined
  #spread: number | null = null
  #error: number | null = null
  #ended = false

  private constructor(options: SwarmOptions) {
    this.#options = options
    this.#bus = options.bus
    this.#period = options.beat ?? BEAT
    this.swarm = checkSwarmName(options.swarm)
    this.stopped = this.#stop.signal
    this.gone = this.#leave.signal
  }

  /**
   * Takes all agents of a swarm for a run.
   *
   * @throws {SwarmError} none are there, or somebody else has them; the signal's reason
   */
  static async gather(options: SwarmOptions): Promise<Coordinator> {
    const coordinator = new Coordinator(options)
    try {
      coordinator.#start()
      await coordinator.#gather()
    } catch (error) {
      await coordinator.end()
      // With the bus closed all fails, one after the other: this is why.
      throw coordinator.#broken ?? error
    }
    return coordinator
  }

  /** All that are here, by name. */
  get agents(): { name: string; records: number | null }[] {
    const here = this.#here().map(({ name, records }) => ({ name, records }))
    return here.sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  /** Agents that make connections, and are here. */
  get pulsing(): Member[] {
    return this.#here().filter(({ records }) => records === null)
  }

  /** The agent that records the server on `port`. @throws {SwarmError} there is none, or there are several */
  recorderOf(port: number): Member {
    const found = this.#here().filter(({ records }) => records === port)
    const [first] = found
    if (first === undefined) {
      throw new SwarmError(
        `no agent of swarm ${this.swarm} records port ${port}: start one beside the server, ebb agent --record-port ${port}`
      )
    }
    if (found.length === 1) return first
    const names = found.map(({ name }) => name).join(', ')
    throw new SwarmError(
      `${found.length} agents of swarm ${this.swarm} record port ${port} (${names}): leave one of them`
    )
  }

  /** Whether an agent was lost. */
  get degraded(): boolean {
    return [...this.#members.values()].some(({ why }) => why !== null)
  }

  /** What was done so far. */
  report(): SwarmReport {
    const agents = [...this.#members.values()].filter(({ records }) => records === null)
    return {
      name: this.swarm,
      degraded: this.degraded,
      agents: agents.map(({ name, total, why }) => ({ name, ...structuredClone(total), gone: why })),
      spread: this.#spread,
      error: this.#error
    }
  }

  /** Keeps how far apart the starts of one pulse were. */
  began(starts: readonly { at: number; error: number }[]): void {
    if (starts.length === 0) return
    const at = starts.map((start) => start.at)
    this.#spread = Math.max(this.#spread ?? 0, Math.max(...at) - Math.min(...at))
    this.#error = Math.max(this.#error ?? 0, ...starts.map((start) => start.error))
  }

  /** An instant that every agent will have heard of when it comes, by this process's clock. */
  soon(): number {
    const here = this.#here()
    const ways = here.map(({ clock }) => 2 * (clock.best?.error ?? 0))
    return performance.now() + 100 + 0.2 * here.length + 2 * Math.max(0, ...ways)
  }

  /**
   * Gives an order and waits for its answer, as long as the agent is there. Undefined: it was lost.
   *
   * @throws MessageError, NatsError for an order that is too large to be sent
   */
  async ask(member: Member, command: Command): Promise<Answer | undefined> {
    if (member.state === 'lost') return undefined
    const seq = ++member.seq
    const bytes = encode({ v: PROTOCOL, from: this.id, lease: this.#lease, seq, ...command })
    this.#bus.publish(agentSubject(this.swarm, member.id), bytes)
    return await new Promise((resolve) => member.waiting.set(seq, { bytes, sent: false, resolve }))
  }

  /** An agent is not to be relied on any more: what it held is lost. */
  lose(member: Member, why: string): void {
    const was = member.state
    if (was === 'lost') return
    member.state = 'lost'
    member.prepared = ''
    member.open = 0
    if (was === 'here') {
      member.why = why
      this.#event({ event: 'lost', agent: member.name, why })
      if (this.pulsing.length === 0) this.#leave.abort()
      if (this.#options.strict === true) this.#stop.abort(new SwarmError(`the agent ${member.name} was lost: ${why}`))
    }
    member.forget()
  }

  /** Takes agents back that were lost, and new ones in their place. Waits for some when there are none. */
  async replenish(signal?: AbortSignal): Promise<void> {
    if (!this.degraded || this.#options.strict === true) return
    const deadline = performance.now() + RETURN
    for (;;) {
      if (this.#bus.up) {
        // What fails now may work when NATS is back.
        const offers = await this.#discover().catch(() => [])
        await Promise.all(offers.map((offer) => this.#take(offer)))
        if (this.pulsing.length > 0) {
          if (this.gone.aborted) {
            this.#leave = new AbortController()
            this.gone = this.#leave.signal
          }
          if (this.#here().some(({ clock }) => clock.best === undefined)) await this.#compareClocks()
        }
      }
      if (this.pulsing.length > 0 || performance.now() > deadline || signal?.aborted) return
      await pause(LOOK, signal)
    }
  }

  /** Frees all agents. What they still hold they close. */
  async end(): Promise<void> {
    if (this.#ended) return
    const freed = this.#here().map((member) => this.ask(member, { order: 'end' }))
    // An agent that does not hear it frees itself when its lease is over.
    const farewell = new AbortController()
    await Promise.race([Promise.all(freed), pause(this.#bus.up ? FAREWELL : 0, farewell.signal)])
    farewell.abort()
    this.#ended = true
    for (const end of this.#ends) end()
    for (const member of this.#members.values()) {
      // Whoever asks it from now on has no answer to wait for.
      member.state = 'lost'
      member.forget()
    }
  }

  #here(): Member[] {
    return [...this.#members.values()].filter(({ state }) => state === 'here')
  }

  #start(): void {
    const timer = setInterval(() => this.#tick(), this.#period)
    this.#ends.push(
      () => clearInterval(timer),
      this.#bus.subscribe(coordinatorSubject(this.swarm, this.id), (bytes) => this.#receive(bytes)),
      this.#bus.watch((up) => this.#event({ event: up ? 'back' : 'away' }))
    )
    void this.#bus.closed.then((error) => {
      if (!this.#ended) this.#broken = error
      const why = error?.message ?? `${this.#bus.name} is closed`
      for (const member of this.#ended ? [] : this.#members.values()) this.lose(member, why)
    })
  }

  async #gather(): Promise<void> {
    const { signal, agents = 1 } = this.#options
    const deadline = performance.now() + (this.#options.agents === undefined ? 0 : GATHER)
    let offers: Offer[]
    for (;;) {
      signal?.throwIfAborted()
      offers = await this.#discover()
      if (offers.length >= agents || performance.now() >= deadline) break
      await pause(LOOK, signal)
    }
    if (offers.length < agents) throw this.#missing(offers.length, agents)
    // By id, and one after the other until the first is had: of two who gather at once, one has all and the other none.
    offers.sort((a, b) => (a.id < b.id ? -1 : 1))
    let first = 0
    while (first < offers.length && (await this.#takeOrThrow(offers[first] as Offer)) === undefined) first++
    await Promise.all(offers.slice(first + 1).map((offer) => this.#takeOrThrow(offer)))
    signal?.throwIfAborted()
    const here = this.#here().length
    if (here < agents) throw this.#missing(here, agents)
    await this.#compareClocks()
  }

  #missing(here: number, wanted: number): SwarmError {
    const where = `swarm ${this.swarm} (${this.#bus.name})`
    const refused = this.#refused.size === 0 ? '' : `; not used: ${[...this.#refused].join('; ')}`
    return new SwarmError(
      wanted === 1
        ? `${where} has no agents${refused || `: start some, ebb agent --swarm ${this.swarm}`}`
        : `${where} has ${here} of ${wanted} agents${refused}`
    )
  }

  /** Agents that offer themselves and could be ours, those of before left out. */
  async #discover(): Promise<Offer[]> {
    const found = await this.#bus.discover(serviceOf(this.swarm))
    const offers: Offer[] = []
    for (const one of found) {
      const offer = offerSchema.safeParse(one)
      if (!offer.success) {
        const [issue] = offer.error.issues
        this.#drops.add('an offer', new Error(`${issue?.path.join('.')}: ${issue?.message}`))
      } else if (offer.data.protocol !== PROTOCOL) {
        this.#refuse(
          offer.data.name,
          `it speaks version ${offer.data.protocol} of the protocol, and this is version ${PROTOCOL}: use the same ebb on both sides`
        )
      } else if (this.#members.get(offer.data.id)?.state !== 'here') offers.push(offer.data)
    }
    return offers
  }

  async #takeOrThrow(offer: Offer): Promise<Member | undefined> {
    const asked = performance.now()
    for (;;) {
      const answer = await this.#take(offer)
      if (answer?.answer !== 'taken') return answer === undefined ? undefined : this.#members.get(offer.id)
      // Who has not been heard of since this asked first may be dead: then the lease is over soon.
      const waited = performance.now() - asked
      const dead = answer.silence >= Math.min(waited, 2 * this.#period)
      if (!dead || waited > LEASE + 2 * this.#period || this.#options.signal?.aborted) {
        throw new SwarmError(
          `${answer.by} has swarm ${this.swarm}: wait until that run has ended, or give the agents of another swarm`
        )
      }
      await pause(LOOK, this.#options.signal)
    }
  }

  /** Asks for an agent's lease. Undefined: not to be had. */
  async #take(offer: Offer): Promise<Extract<Answer, { answer: 'granted' | 'taken' }> | undefined> {
    const before = this.#members.get(offer.id)
    const member = before ?? new Member(offer, this.#nameFor(offer))
    this.#members.set(offer.id, member)
    member.state = 'asked'
    member.lastHeard = performance.now()
    const answer = await this.ask(member, { order: 'lease', who: this.#options.who ?? whoWeAre() })
    if (answer?.answer === 'granted' && !this.#ended) {
      member.state = 'here'
      member.capacity = answer.capacity
      member.records = answer.records
      this.#event({ event: 'joined', agent: member.name, records: answer.records })
      return answer
    }
    if (before === undefined) this.#members.delete(offer.id)
    else member.state = 'lost'
    if (answer?.answer === 'taken') return answer
    this.#refuse(member.name, answer?.answer === 'refused' ? answer.reason : 'it does not answer')
    return undefined
  }

  #nameFor({ name }: Offer): string {
    const taken = new Set([...this.#members.values()].map((member) => member.name))
    for (let i = 2; ; i++) {
      const free = i === 2 && !taken.has(name) ? name : `${name} (${i})`
      if (!taken.has(free)) return free
    }
  }

  async #compareClocks(): Promise<void> {
    const unknown = (): boolean => this.#here().some(({ clock }) => clock.best === undefined)
    const deadline = performance.now() + SILENCE * this.#period
    for (let i = 0; i < FIRST_BEATS || (unknown() && performance.now() < deadline); i++) {
      this.#beat()
      await pause(this.#here().length > MANY ? SPREAD / FIRST_BEATS : FIRST_BEAT)
    }
  }

  #tick(): void {
    const now = performance.now()
    // A process that was held up itself has heard nobody meanwhile.
    const late = Math.max(0, now - this.#lastTick - this.#period)
    this.#lastTick = now
    this.#beat()
    for (const member of this.#members.values()) {
      if (member.state === 'lost') continue
      if (late > this.#period) member.lastHeard += late
      if (now - member.lastHeard > SILENCE * this.#period) {
        const away = this.#bus.up ? '' : `, ${this.#bus.name} is away`
        this.lose(member, `nothing was heard of it for ${((now - member.lastHeard) / 1000).toFixed(1)} s${away}`)
      }
      for (const waiting of member.waiting.values()) {
        // Answered by and by, or lost on its way: who has it already does not do it again.
        if (waiting.sent) this.#publish(member, waiting.bytes)
        waiting.sent = true
      }
    }
  }

  #beat(): void {
    const spread = this.#members.size > MANY ? SPREAD : 0
    this.#send(
      everyone(this.swarm),
      encode({ v: PROTOCOL, from: this.id, lease: this.#lease, t0: performance.now(), spread })
    )
  }

  #receive(bytes: Uint8Array): void {
    const t3 = performance.now()
    let told: Tell
    try {
      told = decode(tellSchema, bytes)
    } catch (error) {
      this.#drops.add('a message', error)
      return
    }
    const member = this.#members.get(told.agent)
    // An agent that was asked and is forgotten may still answer: that is nobody's forgery.
    if (told.lease !== this.#lease) {
      this.#drops.add(
        `what says that it is from ${member?.name ?? 'an agent'}`,
        new Error('it does not know the secret')
      )
      return
    }
    if (member === undefined) return
    if (member.state === 'lost') {
      // It lives and holds what was given up: it may come back when it has closed all.
      if (told.tell === 'beat') this.#dismiss(member)
      return
    }
    member.lastHeard = t3
    switch (told.tell) {
      case 'beat':
        member.clock.add({ t0: told.t0, t1: told.t1, t2: told.t2, t3 })
        member.open = told.open
        member.failing = told.failed
        break
      case 'leaving':
        this.lose(member, `it left: ${told.reason}`)
        break
      case 'answer': {
        const waiting = member.waiting.get(told.seq)
        member.waiting.delete(told.seq)
        waiting?.resolve(told)
      }
    }
  }

  #dismiss(member: Member): void {
    const seq = ++member.seq
    this.#publish(member, encode({ v: PROTOCOL, from: this.id, lease: this.#lease, seq, order: 'end' }))
  }

  #publish(member: Member, bytes: Uint8Array): void {
    this.#send(agentSubject(this.swarm, member.id), bytes)
  }

  #send(subject: string, bytes: Uint8Array): void {
    try {
      this.#bus.publish(subject, bytes)
    } catch (error) {
      this.#drops.add('an order', error)
    }
  }

  #refuse(agent: string, why: string): void {
    const told = `${agent}: ${why}`
    if (this.#refused.has(told)) return
    this.#refused.add(told)
    this.#event({ event: 'refused', agent, why })
  }

  #event(event: SwarmEvent): void {
    if (!this.#ended) this.#options.onEvent?.(event)
  }
}

function whoWeAre(): string {
  let user = `uid ${process.getuid?.()}`
  try {
    user = userInfo().username
  } catch {
    // This user has no name.
  }
  return `${user}@${hostname()} (pid ${process.pid})`
}
