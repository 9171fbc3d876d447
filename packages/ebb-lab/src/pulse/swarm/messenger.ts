/** The coordinator's side of the protocol: sends orders to agents and receives their messages. */
import type { Bus } from './bus.js'
import { DropLog } from './drop-log.js'
import type { Command, Member, MemberList } from './member.js'
import { type AgentMessage, type Answer, agentMessageSchema, decode, encode, newToken, PROTOCOL } from './messages.js'
import { agentSubject, beatSubject, coordinatorSubject } from './subjects.js'

/** What a messenger needs. */
interface MessengerOptions {
  bus: Bus
  swarm: string
  members: MemberList
  /** Called for each message of a member that is not lost, with the time (ms) at which it came. */
  onMessage(member: Member, message: Exclude<AgentMessage, Answer>, receivedAt: number): void
  /** Called when a message was dropped. */
  onDropped(reason: string): void
  /** Secret of the run. Default: a new one. */
  lease?: string | undefined
}

/** Exchanges messages with the agents of a run. */
export class Messenger {
  /** Id of the coordinator. */
  readonly id = newToken()
  readonly #options: MessengerOptions
  /** Secret that proves to agents that an order is from the coordinator that holds them. */
  readonly #lease: string
  readonly #dropLog: DropLog

  constructor(options: MessengerOptions) {
    this.#options = options
    this.#lease = options.lease ?? newToken()
    this.#dropLog = new DropLog((reason) => options.onDropped(reason))
  }

  /** Begins to receive messages. Returns a function that ends this. */
  listen(): () => void {
    const { bus, swarm } = this.#options
    return bus.subscribe(coordinatorSubject(swarm, this.id), (bytes) => this.#receive(bytes))
  }

  /**
   * Sends an order and resolves with the answer, or with undefined if the agent is lost.
   *
   * @throws {MessageError} or NatsError if the order is too large
   */
  async ask(member: Member, command: Command): Promise<Answer | undefined> {
    if (member.state === 'lost') return undefined
    const seq = ++member.seq
    const bytes = this.#order(seq, command)
    this.#options.bus.publish(agentSubject(this.#options.swarm, member.id), bytes)
    return await new Promise((resolve) => member.pending.set(seq, { bytes, due: false, resolve }))
  }

  /** Sends the pending orders of a member again, except those that were sent since the last call. */
  repeat(member: Member): void {
    for (const pending of member.pending.values()) {
      // The order or its answer may be lost. An agent that has executed it only repeats its answer.
      if (pending.due) this.#send(agentSubject(this.#options.swarm, member.id), pending.bytes)
      pending.due = true
    }
  }

  /**
   * Sends a heartbeat to all agents.
   *
   * @param spread milliseconds over which the agents spread their answers
   */
  beat(spread: number): void {
    const beat = { v: PROTOCOL, from: this.id, lease: this.#lease, t0: performance.now(), spread }
    this.#send(beatSubject(this.#options.swarm), encode(beat))
  }

  /** Counts and reports a dropped message. */
  drop(what: string, reason: string): void {
    this.#dropLog.add(what, reason)
  }

  #receive(bytes: Uint8Array): void {
    const receivedAt = performance.now()
    let message: AgentMessage
    try {
      message = decode(agentMessageSchema, bytes)
    } catch (error) {
      this.drop('a message', (error as Error).message)
      return
    }
    const member = this.#options.members.get(message.agent)
    if (message.lease !== this.#lease) {
      this.drop(`a message in the name of ${member?.name ?? 'an agent'}`, 'it does not contain the secret of this run')
      return
    }
    // An agent that was asked for its lease and was given up may still answer. Its message is not a forgery.
    if (member === undefined) return
    if (member.state === 'lost') {
      // The agent lives and still holds connections. Once it has closed them, it may be taken again.
      if (message.tell === 'beat') this.#dismiss(member)
      return
    }
    member.lastHeard = receivedAt
    if (message.tell !== 'answer') {
      this.#options.onMessage(member, message, receivedAt)
      return
    }
    const pending = member.pending.get(message.seq)
    member.pending.delete(message.seq)
    pending?.resolve(message)
  }

  /** Orders a lost agent to close everything. No answer is expected. */
  #dismiss(member: Member): void {
    this.#send(agentSubject(this.#options.swarm, member.id), this.#order(++member.seq, { order: 'end' }))
  }

  #order(seq: number, command: Command): Uint8Array {
    return encode({ v: PROTOCOL, from: this.id, lease: this.#lease, seq, ...command })
  }

  #send(subject: string, bytes: Uint8Array): void {
    try {
      this.#options.bus.publish(subject, bytes)
    } catch (error) {
      this.drop('an order', (error as Error).message)
    }
  }
}
