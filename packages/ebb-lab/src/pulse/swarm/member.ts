/** An agent as its co-ordinator knows it. */
import type { Causes } from '../client.js'
import { Clock } from './clock.js'
import type { Answer, Capacity, Offer, Order } from './messages.js'

/** An order that is not answered yet, to be repeated. */
export interface Waiting {
  bytes: Uint8Array
  /** Longer than a beat ago. */
  sent: boolean
  resolve: (answer: Answer | undefined) => void
}

export class Member {
  readonly id: string
  /** What people call it; the co-ordinator sees to it that no two are called the same. */
  readonly name: string
  /** `asked`: for its lease. `here`: ours. `lost`: was ours. */
  state: 'asked' | 'here' | 'lost' = 'asked'
  /** Why it was lost. */
  why: string | null = null
  lastHeard = performance.now()
  capacity: Capacity = { descriptors: 0, ports: 0, sources: 0 }
  /** The port of the server beside it, which it records. */
  records: number | null = null
  readonly clock = new Clock()
  /** By number. */
  readonly waiting = new Map<number, Waiting>()
  seq = 0
  /** As last told. */
  open = 0
  failing = 0

  /** What its crowd was made for. */
  prepared = ''
  /** What it holds, by its answers. */
  held = 0

  /** Over all its pulses. */
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

  /** Nothing that was ordered will be answered. */
  forget(): void {
    for (const { resolve } of this.waiting.values()) resolve(undefined)
    this.waiting.clear()
  }
}

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never

/** An order before it is addressed. */
export type Command = DistributiveOmit<Order, 'v' | 'from' | 'lease' | 'seq'>
