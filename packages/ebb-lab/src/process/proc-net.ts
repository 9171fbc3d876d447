/** Reads `/proc/PID/net/tcp`, `tcp6` and `unix` without making a string for each line. */
import fs from 'node:fs'
import { endianness } from 'node:os'

/** A TCP socket of a table that listens or is established. One object is used for all of them. */
export interface TableSocket {
  listens: boolean
  port: number
  /** 4 or 16 bytes in network byte order. */
  address: Buffer
  inode: number
}

/** A Unix socket that has a name. */
export interface UnixSocket {
  listens: boolean
  /** Whether it is a connection. That of a server has the name of the socket that accepted it. */
  connected: boolean
  /** Names in the abstract namespace begin with `@`. */
  path: string
  inode: number
}

/** Values of the column `st`, of the kernel's `include/net/tcp_states.h`. */
const ESTABLISHED = 0x01
const LISTEN = 0x0a
/** `SO_ACCEPTCON` in the column `Flags` of Unix sockets, and the state of a connection. */
const ACCEPTS = 0x10000
const CONNECTED = 3

const NEWLINE = 0x0a
const BLANK = 0x20
const COLON = 0x3a

/** Fields between the local port and the inode. */
const FIELDS_TO_INODE = 8

/**
 * Calls `each` for every TCP socket in the network namespace of a process that listens or is established. Throws the
 * errors of `open(2)` and `read(2)`.
 */
export function readTcpTable(pid: number | 'self', family: 4 | 6, each: (socket: TableSocket) => void): void {
  const table = fs.readFileSync(`/proc/${pid}/net/tcp${family === 6 ? '6' : ''}`)
  const socket = { listens: false, port: 0, address: Buffer.alloc(family === 6 ? 16 : 4), inode: 0 }
  const digits = 2 * socket.address.length
  eachLine(table, (at) => {
    // `  0: 0100007F:1F90 00000000:0000 0A ...`
    const local = table.indexOf(COLON, at) + 2
    const port = local + digits + 1
    const state = hex(table, port + 4 + 1 + digits + 1 + 4 + 1, 2)
    if (state !== LISTEN && state !== ESTABLISHED) return
    socket.listens = state === LISTEN
    socket.port = hex(table, port, 4)
    for (let i = 0; i < socket.address.length; i++) socket.address[i] = hex(table, local + 2 * i, 2)
    if (endianness() === 'LE') socket.address.swap32()
    socket.inode = decimal(table, fieldAfter(table, port + 4, FIELDS_TO_INODE))
    each(socket)
  })
}

/** Returns the Unix sockets with a name, in the network namespace of a process. Throws as {@link readTcpTable}. */
export function readUnixTable(pid: number | 'self'): UnixSocket[] {
  const table = fs.readFileSync(`/proc/${pid}/net/unix`)
  const sockets: UnixSocket[] = []
  eachLine(table, (at, end) => {
    // `000000008c5b1b4a: 00000002 00000000 00010000 0001 01 12345 /run/x.sock`
    const flags = fieldAfter(table, at, 3)
    const state = fieldAfter(table, flags, 2)
    const inode = fieldAfter(table, state, 1)
    const path = table.indexOf(BLANK, inode) + 1
    // A socket without a name has no blank after its inode.
    if (path === 0 || path >= end) return
    sockets.push({
      listens: (hex(table, flags, 8) & ACCEPTS) !== 0,
      connected: hex(table, state, 2) === CONNECTED,
      path: table.toString('utf8', path, end),
      inode: decimal(table, inode)
    })
  })
  return sockets
}

/** Calls `each` with the start and the end of every line but the first, which has the titles of the columns. */
function eachLine(table: Buffer, each: (at: number, end: number) => void): void {
  for (let at = table.indexOf(NEWLINE) + 1; at > 0 && at < table.length; ) {
    const newline = table.indexOf(NEWLINE, at)
    const end = newline === -1 ? table.length : newline
    each(at, end)
    at = end + 1
  }
}

/** Returns the place of the field that comes `fields` blank-separated fields after the place `at`. */
function fieldAfter(table: Buffer, at: number, fields: number): number {
  let i = at
  for (let field = 0; field < fields; field++) {
    while (i < table.length && table[i] !== BLANK) i++
    while (table[i] === BLANK) i++
  }
  return i
}

/** Returns a hexadecimal number of `digits` digits. */
function hex(table: Buffer, at: number, digits: number): number {
  let value = 0
  for (let i = at; i < at + digits; i++) {
    const code = table[i] as number
    value = value * 16 + (code < COLON ? code - 0x30 : (code | 0x20) - 0x57)
  }
  return value
}

function decimal(table: Buffer, at: number): number {
  let value = 0
  for (let i = at; i < table.length; i++) {
    const digit = (table[i] as number) - 0x30
    if (digit < 0 || digit > 9) break
    value = value * 10 + digit
  }
  return value
}
