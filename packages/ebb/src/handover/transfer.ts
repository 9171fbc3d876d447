/** What the process that has the servers sends, and how it learns whether the successor has taken it. */
import { type Channel, MOST_BYTES } from '../sys/channel.js'
import { EbbError } from '../sys/errors.js'
import { receiveDone } from './done.js'
import type { Movable } from './movable.js'
import {
  AWAY,
  areAll,
  COMMIT,
  encodeJson,
  encodeNumbers,
  HANDOVER_SOCKET,
  type Hello,
  indexOfServer,
  LISTENING,
  mostNumbers
} from './protocol.js'
import { step } from './steps.js'
import { RowSender } from './wire.js'

/** Descriptors that a successor needs beside those of connections. */
const SPARE = 8

/**
 * Bytes that a batch has at most of what upgraded connections need, such as messages for slow readers. Connections with
 * more follow in the next batch, so that none of them blocks the processes for longer than `timeout`.
 */
const MOST_STATE = 8 * 1024 * 1024

/** One server that both processes have. */
export interface Pair {
  /** Its index in the list of the successor. */
  index: number
  server: Movable
  /** Names of those that take upgraded connections in the successor; undefined: all. */
  upgrades: ReadonlySet<string> | undefined
}

function notListening({ name }: Movable): EbbError {
  return new EbbError('ERR_EBB_HANDOVER', `server ${name} does not listen`)
}

/** What one handover sends. */
export class Transfer {
  /** Servers that both processes have. */
  readonly pairs: Pair[]
  /** Servers that the successor does not have. */
  readonly others: Movable[]
  readonly hello: Hello
  /** Rows that were sent, by pair. */
  readonly sent: (readonly number[])[]
  /** Ids of connections that the successor has got, by pair. */
  readonly moved: Set<number>[]
  /** Number of connections that the last COMMIT told; -1 until it is sent. */
  count = -1

  /** @throws {EbbError} `ERR_EBB_HANDOVER` if the processes have no server in common */
  constructor(servers: readonly Movable[], hello: Hello) {
    this.hello = hello
    this.pairs = servers.flatMap((server, at) => {
      const index = areAll(hello.servers) ? at : indexOfServer(hello.servers, server)
      const upgrades = areAll(hello.servers) ? undefined : new Set(hello.servers[index]?.upgrades)
      return index === -1 ? [] : [{ index, server, upgrades }]
    })
    this.others = servers.filter((server) => !this.pairs.some((pair) => pair.server === server))
    this.sent = this.pairs.map(() => [])
    this.moved = this.pairs.map(() => new Set())
  }

  park(): void {
    for (const { server } of this.pairs) server.parkResting(1)
  }

  /**
   * Sends the listening sockets.
   *
   * @returns the rows of the connections that can move now, by pair
   * @throws {EbbError} `ERR_EBB_HANDOVER`; {SystemError} of the channel
   */
  begin(channel: Channel, handoverSocket: number, deadline: number): (readonly number[])[] {
    const { rows, total } = this.#movableRows()
    this.#checkRoom(total)
    channel.send(encodeJson(LISTENING, HANDOVER_SOCKET), [handoverSocket], deadline)
    for (const { index, server } of this.pairs) {
      const socket = server.listening()
      if (socket === undefined) throw notListening(server)
      const { fd, ...told } = socket
      channel.send(encodeJson(LISTENING, { server: index, ...told, mostUses: server.mostUses }), [fd], deadline)
    }
    step('old:listening')
    return rows
  }

  /**
   * Sends the connections, and waits until the successor has them.
   *
   * @param settle returns the rows, of those that can move, that the successor does not have yet
   * @throws {EbbError} `ERR_EBB_HANDOVER`; {SystemError} of the channel
   */
  send(channel: Channel, settle: (rows: (readonly number[])[]) => number[][], deadline: number): void {
    const { rows, total } = this.#movableRows()
    this.#checkRoom(total)
    for (const { server } of this.pairs) {
      if (server.listening() === undefined) throw notListening(server)
    }
    this.#sendRows(channel, settle(rows), deadline)
    for (const [at, list] of rows.entries()) this.sent[at] = list
    const away = this.#sendAway(channel, rows, deadline)
    step('old:away')
    const uses = this.pairs.map(({ server }) => server.mostUses)
    channel.send(encodeNumbers(COMMIT, [total, this.pairs.length, away, 0, ...uses]), [], deadline)
    this.count = total
    step('old:commit')
    receiveDone(channel, total, deadline)
  }

  #checkRoom(total: number): void {
    if (total + this.pairs.length + SPARE <= this.hello.free) return
    throw new EbbError(
      'ERR_EBB_HANDOVER',
      `the successor can open ${this.hello.free} more descriptors, and there are ${total} connections: raise its limit (ulimit -n)`
    )
  }

  /** The rows of the connections that can move now, by pair, and their number. */
  #movableRows(): { rows: (readonly number[])[]; total: number } {
    const rows = this.pairs.map(({ server, upgrades }) => server.rows(upgrades, MOST_STATE))
    return { rows, total: rows.reduce((sum, list) => sum + list.length, 0) }
  }

  /** @param rows by pair */
  #sendRows(channel: Channel, rows: readonly (readonly number[])[], deadline: number): void {
    const sender = new RowSender(channel, this.hello.format)
    sender.begin(deadline)
    for (const [at, { index, server }] of this.pairs.entries()) {
      for (const row of rows[at] ?? []) sender.add(index, server.describe(row))
    }
    sender.finish()
  }

  /** @param rows those that were sent, by pair */
  #sendAway(channel: Channel, rows: readonly (readonly number[])[], deadline: number): number {
    const most = mostNumbers(MOST_BYTES) - 2
    let count = 0
    for (const [at, { index, server }] of this.pairs.entries()) {
      for (const broadcasts of [false, true]) {
        const ids = [...server.stayingIds(broadcasts, rows[at] ?? []), ...server.arrivingIds(broadcasts)]
        count += ids.length
        for (let at = 0; at < ids.length; at += most) {
          const numbers = [index, broadcasts ? 1 : 0, ...ids.slice(at, at + most)]
          channel.send(encodeNumbers(AWAY, numbers), [], deadline)
        }
      }
    }
    return count
  }

  /** Gives up the listening sockets, and the connections that were sent. @returns how many connections are left */
  surrender(): number {
    this.surrenderRows()
    let left = 0
    for (const { server } of this.pairs) {
      server.surrenderListening()
      left += server.size
    }
    return left
  }

  surrenderRows(): void {
    for (const [at, { server }] of this.pairs.entries()) {
      for (const row of this.sent[at] as number[]) {
        this.moved[at]?.add(server.idOf(row))
        server.surrender(row)
      }
      this.sent[at] = []
    }
  }

  /** Keeps the connections that were sent, because the successor has not taken them. */
  keepRows(): void {
    for (const at of this.pairs.keys()) this.sent[at] = []
  }

  /** Parks what is at rest, and sends it. @returns how many connections were sent */
  sendRested(channel: Channel, part: number, orders: number, deadline: number): number {
    this.count = -1
    for (const { server } of this.pairs) server.parkResting(part)
    const { rows, total } = this.#movableRows()
    if (total === 0) return 0
    for (const [at, list] of rows.entries()) this.sent[at] = list
    this.#sendRows(channel, rows, deadline)
    channel.send(encodeNumbers(COMMIT, [total, 0, 0, orders]), [], deadline)
    this.count = total
    step('old:late commit')
    return total
  }
}
