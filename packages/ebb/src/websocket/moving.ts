/** How the WebSocket connections of one server move to another process, and come from one. */
import type { UpgradedMoving, Upgrades } from '../park/upgrades.js'
import { EPOLLOUT } from '../sys/constants.js'
import { callHandler, type MovingHandlers } from './handlers.js'
import { decodeState, encodeState, LEAST_SIZE, MOVABLE, ownerOf } from './moved-state.js'
import { decodeOrder } from './orders.js'
import type { FrameReceiver } from './receiving.js'
import type { FrameSender } from './sending.js'
import { INCOMPLETE, PEER_ENDED, QUEUED, type States } from './states.js'

/** Moves parked connections. Each is given by its row. */
export class MovingWebSockets implements UpgradedMoving {
  readonly #upgrades: Upgrades
  readonly #states: States
  readonly #receiver: FrameReceiver
  readonly #sender: FrameSender
  readonly #reading: ReadonlySet<number>

  /** @param reading rows of connections with bytes that are read in a later tick: they stay until then */
  constructor(
    upgrades: Upgrades,
    states: States,
    receiver: FrameReceiver,
    sender: FrameSender,
    reading: ReadonlySet<number>
  ) {
    this.#upgrades = upgrades
    this.#states = states
    this.#receiver = receiver
    this.#sender = sender
    this.#reading = reading
  }

  movableSize(row: number, owners?: ReadonlySet<string>): number {
    const { moving } = this.#states.handlers(row)
    if (moving === undefined || owners?.has(moving.name) === false || this.#reading.has(row)) return -1
    if ((this.#states.flags(row) & ~MOVABLE) !== 0 || moving.prepare?.(row) === false) return -1
    return LEAST_SIZE + this.#sender.queued(row) + this.#receiver.incompleteBytes(row)
  }

  canKeep(row: number): boolean {
    if (this.#states.flags(row) !== 0 || this.#reading.has(row)) return false
    return this.#states.handlers(row).moving?.canKeep === true
  }

  describe(row: number): string {
    const moving = this.#states.handlers(row).moving as MovingHandlers
    return encodeState({
      flags: this.#states.flags(row),
      owner: moving.name,
      ...this.#receiver.describe(row),
      ...this.#sender.describe(row),
      own: moving.describe(row)
    })
  }

  check(state: string): void {
    const { owner, own } = decodeState(state)
    const known = this.#states.ownerNamed(owner)
    if (known !== -1) this.#states.handlersOf(known)?.moving?.check(own)
  }

  hasOwner(state: string): boolean {
    return this.#states.ownerNamed(ownerOf(state)) !== -1
  }

  restore(row: number, state: string): void {
    const moved = decodeState(state)
    this.#states.add(row, this.#states.ownerNamed(moved.owner))
    this.#states.setFlags(row, moved.flags & ~(QUEUED | INCOMPLETE))
    this.#receiver.restore(row, moved)
    this.#sender.restore(row, moved)
    if ((moved.flags & PEER_ENDED) !== 0)
      this.#upgrades.reactor.modify(this.#upgrades.connections.table.fd(row), EPOLLOUT)
    this.#states.handlers(row).moving?.restore(row, moved.own)
  }

  onTaken(row: number): void {
    callHandler(() => this.#states.handlers(row).moving?.onTaken(row))
  }

  onMoved(row: number): void {
    this.#receiver.delete(row)
    this.#sender.onMoved(row)
    this.#states.handlers(row).moving?.onMoved(row)
    this.#states.delete(row)
  }

  carryOut(row: number, bytes: Buffer): void {
    const order = decodeOrder(bytes)
    const owner = row === -1 ? this.#states.ownerNamed(order.owner) : this.#states.owner(row)
    const moving = this.#states.handlersOf(owner)?.moving
    if (moving?.name === order.owner) moving.carryOut(row, order)
  }
}
