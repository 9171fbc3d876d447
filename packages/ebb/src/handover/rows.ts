/** ROWS, as bytes: pure functions, which trust nothing that they read. */
import { blank, broken, HEADER, ROWS, validId } from './protocol.js'

/** Size of the part of a row that all rows have. */
const ROW = 64
const NO_BODY = 0xffff_ffff
/** Size of a record of addresses that a balancer has told. */
const PROXIED = 37
/** Largest body, in bytes: V8 holds no longer string. */
const LARGEST_BODY = 2 ** 29 - 24

/** A connection in a message. Its descriptor is the one with the same place in the message. */
export interface Row {
  /** Index of its server, in the list of HELLO. */
  server: number
  id: number
  flags: number
  wakes: number
  requests: number
  /** Time of its timeout by `CLOCK_MONOTONIC`, in ms; 0: none. */
  deadline: number
  duration: number
  /** `SO_COOKIE` of its socket. */
  cookie: number
  /** Size of its {@link body}, in bytes; -1: it has none. */
  size: number
  /** Size of the part of its body that comes first: what its protocol needs, if it is upgraded. 0: there is none. */
  stateSize: number
  /** What its protocol needs, and after it its attachment, if they are in the same message. */
  body: string | undefined
  proxied: Uint8Array | undefined
}

/** Returns how many bytes {@link RowWriter.add} takes for a row. */
export function sizeOfRow(row: Row): number {
  return ROW + (row.body?.length ?? 0) + (row.proxied === undefined ? 0 : PROXIED)
}

/** Writes rows into a message of at most `capacity` bytes. */
export class RowWriter {
  readonly #bytes: Buffer
  #end = HEADER
  count = 0

  constructor(capacity: number) {
    this.#bytes = blank(ROWS, capacity - HEADER)
  }

  /** Bytes that are left. */
  get room(): number {
    return this.#bytes.length - this.#end
  }

  /** Adds a row, for which there must be room. */
  add(row: Row): void {
    const bytes = this.#bytes
    const at = this.#end
    bytes.writeDoubleLE(row.id, at)
    bytes.writeDoubleLE(row.deadline, at + 8)
    bytes.writeDoubleLE(row.duration, at + 16)
    bytes.writeDoubleLE(row.cookie, at + 24)
    bytes.writeUInt32LE(row.wakes, at + 32)
    bytes.writeUInt32LE(row.requests, at + 36)
    bytes.writeUInt16LE(row.flags, at + 40)
    bytes.writeUInt16LE(row.server, at + 42)
    bytes.writeUInt32LE(row.size === -1 ? NO_BODY : row.size, at + 44)
    bytes.writeUInt32LE(row.body?.length ?? 0, at + 48)
    bytes.writeUInt32LE(row.proxied?.length ?? 0, at + 52)
    bytes.writeUInt32LE(row.stateSize, at + 56)
    bytes.fill(0, at + 60, at + ROW)
    let end = at + ROW
    if (row.body !== undefined) end += bytes.write(row.body, end, 'latin1')
    if (row.proxied !== undefined) {
      bytes.set(row.proxied, end)
      end += row.proxied.length
    }
    this.#end = end
    this.count++
  }

  /** Returns the message, which is valid until the next row is added, and begins a new one. */
  take(): Buffer {
    const message = this.#bytes.subarray(0, this.#end)
    this.#end = HEADER
    this.count = 0
    return message
  }
}

/**
 * Returns the rows of a message.
 *
 * @param count number of servers
 * @throws {EbbError} `ERR_EBB_HANDOVER`
 */
export function decodeRows(payload: Buffer, count: number, movable: number): Row[] {
  const rows: Row[] = []
  for (let at = 0; at < payload.length; ) {
    if (at + ROW > payload.length) throw broken('a row is cut')
    const row = decodeRow(payload, at)
    const inline = payload.readUInt32LE(at + 48)
    const proxied = payload.readUInt32LE(at + 52)
    if (row.server >= count) throw broken(`there is no server ${row.server}`)
    if ((row.flags & ~movable) !== 0) throw broken('a row has flags that no connection has that moves')
    if (proxied !== 0 && proxied !== PROXIED) throw broken('a record of addresses has a wrong size')
    if (row.size === -1 ? inline !== 0 : row.size > LARGEST_BODY || (inline !== row.size && inline !== 0)) {
      throw broken('an attachment has a wrong size')
    }
    if (row.stateSize > Math.max(0, row.size)) throw broken('what a protocol needs has a wrong size')
    const end = at + ROW + inline + proxied
    if (end > payload.length) throw broken('a row is cut')
    if (row.size !== -1 && inline === row.size) row.body = payload.toString('latin1', at + ROW, at + ROW + inline)
    if (proxied > 0) row.proxied = Uint8Array.from(payload.subarray(end - proxied, end))
    if (row.proxied !== undefined && row.proxied[0] !== 4 && row.proxied[0] !== 6)
      throw broken('addresses of no family')
    rows.push(row)
    at = end
  }
  if (rows.length === 0) throw broken('it has no rows')
  return rows
}

function decodeRow(payload: Buffer, at: number): Row {
  const size = payload.readUInt32LE(at + 44)
  return {
    id: validId(payload.readDoubleLE(at)),
    deadline: validTime(payload.readDoubleLE(at + 8)),
    duration: validTime(payload.readDoubleLE(at + 16)),
    cookie: payload.readDoubleLE(at + 24),
    wakes: payload.readUInt32LE(at + 32),
    requests: payload.readUInt32LE(at + 36),
    flags: payload.readUInt16LE(at + 40),
    server: payload.readUInt16LE(at + 42),
    size: size === NO_BODY ? -1 : size,
    stateSize: payload.readUInt32LE(at + 56),
    body: undefined,
    proxied: undefined
  }
}

function validTime(ms: number): number {
  if (!Number.isFinite(ms) || ms < 0) throw broken('a time is not valid')
  return ms
}
