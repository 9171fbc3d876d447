/** A session: an agent executes the orders of one coordinator, from the grant of its lease to the end. */
import { isIP } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { defined } from '../../units/defined.js'
import type { DistributiveOmit } from '../../units/types.js'
import { addressesFor, answeringAddress } from '../addresses.js'
import { addCauses, type Causes, mostFrequent, total } from '../causes.js'
import type { ClientOptions } from '../client-options.js'
import { type Crowd, processesFor } from '../crowd.js'
import type { Opened } from '../opened.js'
import { crowdOf } from '../own-crowd.js'
import { pause } from '../pause.js'
import { type Pulse, pulsesOf } from '../plan.js'
import { crowdOfAll } from '../shared-crowd.js'
import type { Traffic } from '../traffic.js'
import type { AgentEvent, AgentOptions, AgentPulse, SideRecording } from './agent-options.js'
import type { AllowList } from './allow.js'
import { capacityToAll } from './capacity.js'
import { clientSettings, nameOf } from './connect-settings.js'
import { OrderError } from './errors.js'
import { Journal } from './journal.js'
import {
  type Answer,
  type Capacity,
  type ConnectSettings,
  MAX_CAUSES,
  type Order,
  type Part,
  type PulseResult,
  planFromJson
} from './messages.js'
import { Spoken } from './spoken.js'

/** A start that is further away than this (ms) is a mistake in a clock. */
const MAX_START_DELAY = 60_000
/** Time for one of several addresses of a server to answer, ms. The coordinator waits longer for this agent. */
const ANSWERS_WITHIN = 2000
/** Milliseconds before an instant at which a timer ends and polling begins, because timers are too coarse. */
const POLL_BEFORE = 3
/** Maximum bytes of recorded lines in one message. */
const LINES_BYTES = 131_072

/** Orders of a coordinator that leads the agent through the plan. */
const LEADING: ReadonlySet<Order['order']> = new Set([
  'begin',
  'connect',
  'abort',
  'lost',
  'traffic',
  'shrink',
  'close'
])

/**
 * `led`: a coordinator gives the orders. `alone`: the agent goes on with its part of the plan. `ended`: it has done so,
 * or was halted.
 */
type SessionState = 'led' | 'alone' | 'ended'

/** An answer without the fields that address it. */
export type Reply = DistributiveOmit<Answer, 'v' | 'agent' | 'lease' | 'tell' | 'seq'>

type OrderOf<K extends Order['order']> = Extract<Order, { order: K }>

/** What a session needs of its agent. */
interface SessionOptions {
  agent: Pick<AgentOptions, 'sources' | 'procs' | 'recorder' | 'crowdOf'>
  capacity: Capacity
  allow: AllowList
  /** Figures of the agent that the session adds to. */
  statistics: { pulses: number; connected: number }
  onEvent(event: AgentEvent): void
}

/** Executes the orders of one coordinator. Orders that change connections are executed one after the other. */
export class Session {
  /** Results of the pulses that the coordinator has not stored yet. */
  readonly journal = new Journal()

  readonly #options: SessionOptions
  /** Cancels the connect in progress. */
  #abort = new AbortController()
  /** Sequence number of the last order to cancel connects. */
  #abortedAt = 0
  /** Aborted when the session ends. */
  readonly #over = new AbortController()
  /** Resolves when the last order in turn has been executed. */
  #queue: Promise<unknown> = Promise.resolve()
  #crowd: Crowd | undefined
  /** Number of connections that the crowd was prepared for, and that it holds. */
  #prepared = 0
  #held = 0
  #target = ''
  #pulse: AgentPulse | undefined
  #heldSince = 0
  /** Connections that the server closed and that the coordinator does not know of yet. */
  #lost: Causes = {}
  /** What the connections have said that the coordinator does not know of yet, and in the whole pulse. */
  #unreported = new Spoken()
  #ofPulse = new Spoken()
  #recording: SideRecording | undefined
  /** The agent's part of the plan, if it may go on alone. */
  #part: Part | undefined
  /** Result of the last pulse. */
  #result: PulseResult | undefined
  #closedAt = 0
  #state: SessionState = 'led'
  /** Aborted when the agent is no longer to go on alone. */
  readonly #halt = new AbortController()

  constructor(options: SessionOptions) {
    this.#options = options
  }

  /** Number of connections that are open. */
  get open(): number {
    return this.#crowd?.open ?? 0
  }

  /** Milliseconds without a coordinator after which the agent must close everything. 0: it cannot go on alone. */
  get grace(): number {
    return this.#part === undefined || this.#result === undefined ? 0 : this.#part.grace
  }

  get state(): SessionState {
    return this.#state
  }

  /** Number of connects of the current pulse that have failed. */
  get failed(): number {
    return this.#crowd?.failed ?? 0
  }

  /**
   * Executes an order and returns the reply.
   *
   * @throws Error whose message tells the coordinator why the order cannot be executed
   */
  async execute(order: Order): Promise<Reply> {
    if (this.#state !== 'led' && LEADING.has(order.order)) throw new OrderError('it goes on alone')
    switch (order.order) {
      case 'begin':
        return this.#inTurn(() => this.#begin(order))
      case 'connect': {
        const abort = new AbortController()
        this.#abort = abort
        // The order was lost on its way and has come again, after the order to cancel it.
        if (order.seq < this.#abortedAt) abort.abort()
        return this.#inTurn(() => this.#connect(order, abort.signal))
      }
      case 'abort':
        this.#abortedAt = order.seq
        this.#abort.abort()
        return { answer: 'done' }
      case 'lost':
        return this.#inTurn(() => this.#reportLost())
      case 'traffic':
        return this.#inTurn(() => this.#reportTraffic())
      case 'shrink':
        return this.#inTurn(() => this.#shrink(order.n))
      case 'close':
        return this.#inTurn(() => this.#close(order.at))
      case 'record':
        // In turn, so that end() also stops a recording that is just being started.
        return this.#inTurn(() => this.#record(order.connections))
      case 'stop':
        return this.#inTurn(() => this.#stopRecording())
      case 'result':
        return { answer: 'result', ...this.journal.view(order.pulse), ended: this.#state === 'ended' }
      case 'halt':
        await this.halt()
        return { answer: 'done' }
      case 'lines':
        return this.#lines(order.first)
      default:
        return { answer: 'done' }
    }
  }

  /**
   * Ends the session: cancels the orders in progress, closes all connections and stops the recording.
   *
   * @returns number of connections that were open
   */
  end(): Promise<number> {
    this.#abort.abort()
    this.#over.abort()
    return this.#inTurn(async () => {
      const { open } = this
      await this.#disposeCrowd()
      this.#pulse = undefined
      await this.#stopRecording()
      return open
    })
  }

  /**
   * Goes on with the agent's part of the plan, without orders. Resolves when the part is done, or when the session is
   * halted or ends. The times between pulses are those of the plan, by this agent's clock.
   */
  async goOn(): Promise<void> {
    if (this.#part === undefined || this.#state !== 'led') return
    this.#state = 'alone'
    const { plan, big, small } = this.#part
    const stop = AbortSignal.any([this.#halt.signal, this.#over.signal])
    // The order in progress may be the one to connect a pulse, or to close it.
    await this.#inTurn(async () => {})
    let after = 0
    for (const pulse of pulsesOf(planFromJson(plan))) {
      if (stop.aborted) break
      if (pulse.index >= this.journal.next) {
        const answered = await this.#makeAlone(pulse, pulse.size === 'big' ? big : small, this.#closedAt + after, stop)
        if (!answered) break
      }
      after = pulse.after
    }
    this.#state = 'ended'
  }

  /**
   * Makes the agent's share of a pulse that begins at `from`, unless it has begun already. Returns whether the server
   * has accepted a connection.
   */
  async #makeAlone(pulse: Pulse, share: number, from: number, stop: AbortSignal): Promise<boolean> {
    if (this.#pulse?.index !== pulse.index) {
      await pause(Math.max(0, from - performance.now()), stop)
      if (stop.aborted) return false
      await this.#inTurn(() => this.#connect({ pulse: pulse.index, n: share, of: pulse.n, at: 0 }, stop))
    }
    await pause(Math.max(0, this.#heldSince + pulse.linger - performance.now()), stop)
    await this.#inTurn(() => this.#close(0))
    return share === 0 || (this.#result?.opened.connected ?? 0) > 0
  }

  /** Ends the agent's part of the plan. Resolves when all connections are closed and the results are there. */
  async halt(): Promise<void> {
    this.#halt.abort()
    this.#abort.abort()
    await this.#inTurn(async () => {
      if (this.#pulse !== undefined) await this.#close(0)
      this.#state = 'ended'
    })
  }

  /** Makes a crowd for up to `n` connections. */
  async #begin({ n, how, ids, part }: OrderOf<'begin'>): Promise<Reply> {
    const { capacity, agent } = this.#options
    const servers = [how.server, ...(how.others ?? [])]
    const hosts = servers.map(({ host }) => host)
    const room = capacityToAll(hosts, capacity)
    if (n > room) {
      throw new OrderError(`it is to hold ${n} connections to ${hosts.join(', ')}, but can hold only ${room}`)
    }
    const names = servers.map(nameOf)
    const clients = await Promise.all(servers.map((server) => this.#clientOf(server, how)))
    await this.#disposeCrowd()
    const { procs } = agent
    const each = Math.ceil(n / servers.length)
    const processes = procs === undefined ? undefined : Math.min(procs, processesFor(each))
    const make = agent.crowdOf ?? crowdOf
    this.#crowd = await crowdOfAll(
      clients.map((client, i) => [names[i] as string, { ...client, ids }]),
      n,
      make,
      processes
    )
    this.#prepared = n
    this.#held = 0
    // What the connections of the last crowd did after the coordinator had asked is not for the next one.
    this.#lost = {}
    this.#unreported = new Spoken()
    this.#target = names.join(', ')
    this.#part = part
    this.journal.skipTo(part?.first ?? 0)
    return { answer: 'done' }
  }

  /** Finds the address of a server that this agent may connect to, and returns the options for its clients. */
  async #clientOf(server: ConnectSettings['server'], how: ConnectSettings): Promise<ClientOptions> {
    const { allow, agent } = this.#options
    const { sources = [] } = agent
    const { port } = server
    const addresses = addressesFor(await allow.checkAll(server), sources)
    const address = { host: await answeringAddress(addresses, port, Math.min(how.timeout, ANSWERS_WITHIN)), port }
    const usable = sources.filter((source) => isIP(source) === isIP(address.host))
    if (sources.length > 0 && usable.length === 0) {
      throw new OrderError(`none of its source addresses (${sources.join(', ')}) can connect to ${address.host}`)
    }
    return { address, sources: usable, ...clientSettings(how, server), part: { index: 0, of: 1 } }
  }

  async #connect(
    { pulse, n, of, at, rate, replace }: Omit<OrderOf<'connect'>, 'order' | 'v' | 'from' | 'lease' | 'seq'>,
    signal: AbortSignal
  ): Promise<Reply> {
    const crowd = this.#preparedCrowd()
    if (!replace && this.#held + n > this.#prepared) {
      throw new OrderError(
        `it is to open ${n} connections beside ${this.#held}, but was prepared for ${this.#prepared}`
      )
    }
    if (this.#pulse?.index !== pulse) this.#ofPulse = new Spoken()
    await waitUntil(at, signal)
    const began = performance.now()
    const opened = bounded(await crowd.connect(n, signal, defined({ rate, replace })))
    const latencies = crowd.latencies.encoded()
    const answered = crowd.latencies.answers.corrected.count
    crowd.latencies.reset()
    this.#ofPulse.addAnswers(latencies.answers)
    const { statistics } = this.#options
    if (this.#held === 0) statistics.pulses++
    statistics.connected += opened.connected
    this.#held += opened.connected - opened.replaced
    this.#pulse = { index: pulse, target: this.#target, n, of, opened, lost: {}, heldMs: 0 }
    this.#heldSince = performance.now()
    this.#result = { opened, latencies, answered, began }
    // The coordinator stores the results of a pulse before it orders the next one.
    if (this.#state === 'led') this.journal.forgetBefore(pulse)
    return { answer: 'connected', ...this.#result }
  }

  async #shrink(n: number): Promise<Reply> {
    await this.#preparedCrowd().shrink(n)
    this.#held -= n
    return { answer: 'done' }
  }

  async #reportLost(): Promise<Reply> {
    await this.#countLost()
    const lost = mostFrequent(this.#lost, MAX_CAUSES)
    this.#lost = {}
    return { answer: 'lost', lost }
  }

  async #reportTraffic(): Promise<Reply> {
    await this.#countTraffic()
    const { traffic, answers, answered } = this.#unreported.take()
    return { answer: 'traffic', traffic: boundedTraffic(traffic), answers, answered }
  }

  async #countTraffic(): Promise<void> {
    const crowd = this.#crowd
    if (crowd === undefined) return
    const traffic = await crowd.takeTraffic()
    const { answers } = crowd.latencies
    const encoded = answers.corrected.count === 0 ? null : answers.encoded()
    answers.reset()
    this.#unreported.add(traffic, encoded)
    this.#ofPulse.add(traffic, encoded)
  }

  async #close(at: number): Promise<Reply> {
    const crowd = this.#preparedCrowd()
    await waitUntil(at, this.#over.signal)
    // Asks before it closes, because connections that the server closes after us are not lost.
    await this.#countLost()
    await crowd.close()
    await this.#countLost()
    await this.#countTraffic()
    this.#held = 0
    if (this.#pulse !== undefined) {
      const pulse = { ...this.#pulse, heldMs: performance.now() - this.#heldSince }
      this.#options.onEvent({ event: 'pulse', pulse })
      this.#store(pulse)
      this.#pulse = undefined
      this.#closedAt = performance.now()
    }
    return { answer: 'done' }
  }

  /** Keeps the result of a pulse that is over. */
  #store({ index, lost }: AgentPulse): void {
    if (this.#result === undefined) return
    const { opened, latencies, began } = this.#result
    const { traffic, answers, answered } = this.#ofPulse.take()
    this.journal.add(index, {
      opened,
      latencies: { ...latencies, answers },
      answered,
      began,
      lost: mostFrequent(lost, MAX_CAUSES),
      traffic: boundedTraffic(traffic)
    })
  }

  async #countLost(): Promise<void> {
    const lost = (await this.#crowd?.takeLost()) ?? {}
    this.#held -= total(lost)
    addCauses(this.#lost, lost)
    if (this.#pulse !== undefined) addCauses(this.#pulse.lost, lost)
  }

  async #record(connections: number): Promise<Reply> {
    const { recorder } = this.#options.agent
    if (recorder === undefined) throw new OrderError('it records no server: start it with --record-port')
    await this.#stopRecording()
    const recording = await recorder.start({ connections, signal: this.#over.signal })
    this.#recording = recording
    this.#options.onEvent({ event: 'recording', port: recorder.port, started: recorder.startsServer })
    return { answer: 'recording', header: recording.header, at: performance.now(), t: recording.now() }
  }

  async #stopRecording(): Promise<Reply> {
    const { recorder } = this.#options.agent
    const recording = this.#recording
    this.#recording = undefined
    await recording?.stop()
    if (recording !== undefined && recorder !== undefined) {
      this.#options.onEvent({ event: 'recorded', port: recorder.port, stopped: recorder.startsServer })
    }
    return { answer: 'done' }
  }

  #lines(first: number): Reply {
    if (this.#recording === undefined) throw new OrderError('it does not record')
    return { answer: 'lines', first, ...this.#recording.take(first, LINES_BYTES) }
  }

  #preparedCrowd(): Crowd {
    if (this.#crowd === undefined) throw new OrderError('it has no server to connect to: the order begin is missing')
    return this.#crowd
  }

  async #disposeCrowd(): Promise<void> {
    const crowd = this.#crowd
    this.#crowd = undefined
    await crowd?.close()
    await crowd?.dispose()
  }

  /** Executes `work` after all work before it. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#queue.then(work)
    this.#queue = done.catch(() => {})
    return done
  }
}

/** Returns a result with as many causes as a message may have. */
function bounded(opened: Opened): Opened {
  const failed = mostFrequent(opened.failed, MAX_CAUSES)
  const unanswered = mostFrequent(opened.unanswered, MAX_CAUSES)
  const { targets } = opened
  if (targets === undefined) return { ...opened, failed, unanswered }
  return {
    ...opened,
    failed,
    unanswered,
    targets: targets.map((target) => ({ ...target, failed: mostFrequent(target.failed, MAX_CAUSES) }))
  }
}

function boundedTraffic(traffic: Traffic): Traffic {
  return { ...traffic, unanswered: mostFrequent(traffic.unanswered, MAX_CAUSES) }
}

/**
 * Waits until this process's monotonic clock reads `at` (ms), exact to a fraction of a millisecond, or until the abort.
 *
 * @throws {OrderError} if `at` is more than a minute away
 */
async function waitUntil(at: number, signal: AbortSignal): Promise<void> {
  const wait = at - performance.now()
  if (wait > MAX_START_DELAY) {
    throw new OrderError(`it is to begin in ${Math.round(wait / 1000)} s: check the clocks of the machines`)
  }
  if (wait > POLL_BEFORE) await pause(wait - POLL_BEFORE, signal)
  while (performance.now() < at && !signal.aborted) await turn()
}
