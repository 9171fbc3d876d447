/** The agents of a run, as their coordinator knows them. */
import type { DistributiveOmit } from '../../units/types.js'
import type { Causes } from '../causes.js'
import { Clock } from './clock.js'
import type { Answer, Capacity, Offer, Order } from './messages.js'

/** An order that the agent has not answered yet. It is sent again until the answer comes. */
export interface Pending {
  bytes: Uint8Array
  /** Whether a heartbeat has passed since the order was sent, so that the next one sends it again. */
  due: boolean
  /** Called with the answer, or with undefined if the agent is lost. */
  resolve: (answer: Answer | undefined) => void
}

/**
 * State of a member. `asked`: for its lease. `here`: the coordinator holds it. `lost`: the coordinator held it before.
 */
export type MemberState = 'asked' | 'here' | 'lost'

/** One agent of a run. */
export class Member {
  readonly id: string
  /** Name for people, unique in the run. */
  readonly name: string
  state: MemberState = 'asked'
  /** Why it was lost, or null. */
  why: string | null = null
  /** Time (ms) of its last message. */
  lastHeard = performance.now()
  capacity: Capacity = { descriptors: 0, ports: 0, sources: 0 }
  /** Port of the server that the agent records, or null. Such an agent makes no connections. */
  records: number | null = null
  /** Whether the agent starts a fresh server for each recording. */
  startsServer = false
  readonly clock = new Clock()
  /** Orders without an answer, by sequence number. */
  readonly pending = new Map<number, Pending>()
  /** Sequence number of the last order. */
  seq = 0
  /** Number of open connections, as last reported. */
  open = 0
  /** Number of failed connects of the current pulse, as last reported. */
  failing = 0
  /** Number of connections in a big and in a small pulse, according to the plan that it has. */
  part = { big: 0, small: 0 }
  /** Key of the crowd that it has prepared, or an empty string. */
  prepared = ''
  /** Number of connections that its crowd is prepared for. */
  preparedFor = 0
  /** Number of connections that it holds according to its answers. */
  held = 0
  /** Results over all its pulses. */
  readonly total: { connected: number; failed: Causes; lost: Causes; unanswered: Causes } = {
    connected: 0,
    failed: {},
    lost: {},
    unanswered: {}
  }

  constructor(offer: Offer, name: string) {
    this.id = offer.id
    this.name = name
  }

  /** Resolves all pending orders with undefined. */
  dropPending(): void {
    for (const { resolve } of this.pending.values()) resolve(undefined)
    this.pending.clear()
  }
}

/** An order without the fields that address it. */
export type Command = DistributiveOmit<Order, 'v' | 'from' | 'lease' | 'seq'>

/** All agents that a coordinator holds, has asked for, or has lost. */
export class MemberList {
  readonly #members = new Map<string, Member>()

  /** All members. */
  get all(): Member[] {
    return [...this.#members.values()]
  }

  /** Members that the coordinator holds. */
  get here(): Member[] {
    return this.all.filter(({ state }) => state === 'here')
  }

  /** Members that the coordinator holds and that make connections. */
  get pulsing(): Member[] {
    return this.here.filter(({ records }) => records === null)
  }

  /** Whether a member was lost. */
  get degraded(): boolean {
    return this.all.some(({ why }) => why !== null)
  }

  /** Number of members. */
  get size(): number {
    return this.#members.size
  }

  /** Returns the member with this id, or undefined. */
  get(id: string): Member | undefined {
    return this.#members.get(id)
  }

  /** Adds an agent under a unique name, such as `host`, `host (2)`. */
  add(offer: Offer): Member {
    const member = new Member(offer, this.#uniqueName(offer.name))
    this.#members.set(offer.id, member)
    return member
  }

  /** Removes an agent that did not become a member. */
  remove(member: Member): void {
    this.#members.delete(member.id)
  }

  #uniqueName(name: string): string {
    const taken = new Set(this.all.map((member) => member.name))
    if (!taken.has(name)) return name
    for (let i = 2; ; i++) {
      const numbered = `${name} (${i})`
      if (!taken.has(numbered)) return numbered
    }
  }
}
