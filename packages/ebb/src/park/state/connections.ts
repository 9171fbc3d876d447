/** The connections of a parked server, and what is kept for each. */
import type { Socket } from 'node:net'
import { Attachments } from '../../socket/attachments.js'
import { ProxiedAddresses } from '../../socket/proxied.js'
import { CallbackScopes } from '../../sys/node/callback-scope.js'
import type { ConnectionHandle } from '../connection.js'
import { CarriedProperties } from './carried.js'
import { STREAM, Table, UPGRADED } from './table.js'

/** All state that is kept by connection. Every connection has a row in {@link table}; the rest is optional. */
export class Connections {
  readonly table = new Table()
  /** By row: handle of an awake connection. */
  readonly awake = new Map<number, ConnectionHandle>()
  /** By row. */
  readonly attachments: Attachments
  /** By row: number of answered requests, if the server limits them (`maxRequestsPerSocket`). */
  readonly requests = new Map<number, number>()
  /** By row: properties of the last socket of a parked connection. */
  readonly carried: CarriedProperties
  /** By row: addresses that a balancer has told. */
  readonly proxied = new ProxiedAddresses()
  /** By row: in which scope the program is called back. */
  readonly scopes = new CallbackScopes()
  /**
   * By row: the last socket of a parked connection, if it has listeners of `timeout` that were added after
   * `connection`. They have to be called, and only this socket leads to them.
   */
  readonly listening = new Map<number, Socket>()
  /** Called when what is known of a connection has changed. */
  onChange: ((row: number) => void) | undefined
  /** Called before a parked connection is read or written in part, if somebody may have a duplicate of it. */
  onLeaving: ((row: number) => void) | undefined

  constructor(attachmentLimit: number, carry: readonly (string | symbol)[] = []) {
    this.attachments = new Attachments(attachmentLimit)
    this.carried = new CarriedProperties(carry)
  }

  /** Memory for all connections, in bytes, without sockets. */
  get bytes(): number {
    return this.table.bytes + this.attachments.bytes + this.scopes.bytes + this.proxied.bytes
  }

  /** Whether the connection was made a stream of server-sent events. */
  isStream(row: number): boolean {
    return (this.table.flags(row) & STREAM) !== 0
  }

  /** Whether the connection speaks another protocol than its server. */
  isUpgraded(row: number): boolean {
    return (this.table.flags(row) & UPGRADED) !== 0
  }

  /** Whether a connection is parked. */
  isParked(row: number): boolean {
    return this.table.fd(row) >= 0
  }

  /** Returns the socket of an awake connection. */
  socket(row: number): Socket | undefined {
    return this.awake.get(row)?.socket
  }

  /** Calls `fn` as a callback of a connection. @returns its result; undefined if it throws */
  callBack<T, A, B>(row: number, fn: (a: A, b: B) => T, self: unknown, a?: A, b?: B): T | undefined {
    return this.scopes.callBack(row, fn, self, a, b)
  }

  /**
   * Calls `fn` as a callback of a connection in a later tick, when the connection may be closed and its row belong to
   * another one.
   */
  callBackLater<A, B>(row: number, fn: (a: A, b: B) => void, a: A, b: B): void {
    const id = this.scopes.id(row)
    process.nextTick(() => this.scopes.run(id, fn, undefined, a, b))
  }

  /** Frees the row of a connection that is closed. Its last callback may still run. */
  delete(row: number): void {
    this.attachments.delete(row)
    this.requests.delete(row)
    this.proxied.delete(row)
    if (this.listening.size > 0) this.listening.delete(row)
    this.carried.delete(row)
    this.awake.delete(row)
    this.table.drop(row)
    this.scopes.end(row)
  }

  /** Frees memory. */
  trim(): void {
    this.table.trim()
    this.scopes.trim(this.table.end)
    this.proxied.trim(this.table.end)
  }
}
