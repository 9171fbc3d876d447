/**
 * An archive: what a process has given, in descriptors that another process can keep without knowing what is in them.
 *
 * One is a sealed memory file with the messages of a handover. The others are Unix sockets: the descriptors of the
 * messages wait in their queues, as many as the kernel takes in each. So thousands of connections take two descriptors
 * of the process that keeps the archive, and systemd, which compares each descriptor with all others, has no work.
 */
import fs from 'node:fs'
import {
  COMMIT,
  decode,
  decodeNumbers,
  decodeWelcome,
  encodeJson,
  type Message,
  ORDER,
  WELCOME
} from '../handover/protocol.js'
import type { Sink } from '../handover/wire.js'
import { Channel, channelPair, MOST_BYTES, MOST_DESCRIPTORS } from '../sys/channel.js'
import { E } from '../sys/constants.js'
import { EbbError, systemError } from '../sys/errors.js'
import { isSealed, makeMemoryFile, sealMemoryFile, writeAll } from '../sys/memory-file.js'
import { closeDescriptor } from '../sys/socket.js'
import { Holding } from './holding.js'

/** Before each message: its length, and the number of its descriptors, 4 bytes each. */
const PREFIX = 8
/** What goes with descriptors in a queue. */
const NOTHING = Uint8Array.of(0)
/** Nothing blocks: a queue that is full is followed by another. */
const NEVER = Number.POSITIVE_INFINITY

/** What is in an archive. */
export interface Archived {
  holding: Holding
  /** Messages ORDER for its connections. */
  orders: Buffer[]
}

/** The descriptors of an archive. */
export interface ArchiveDescriptors {
  /** The memory file. */
  file: number
  /** The sockets, in the order in which they are read. */
  queues: number[]
}

/** Closes all descriptors of an archive. */
export function closeArchive({ file, queues }: ArchiveDescriptors): void {
  for (const fd of [file, ...queues]) if (fd !== -1) closeDescriptor(fd)
}

/**
 * Writes an archive. It has duplicates of all descriptors, so the holding stays as it is.
 *
 * @returns its descriptors, which the caller owns
 * @throws {SystemError} `ETOOMANYREFS` if more descriptors are in queues than this process may open; `EMFILE`, ...
 */
export function writeArchive({ holding, orders }: Archived): ArchiveDescriptors {
  const writer = new Writer()
  try {
    const { origin } = holding
    writer.send(encodeJson(WELCOME, origin), [])
    holding.give(writer, { servers: origin.servers, format: NEVER }, NEVER)
    for (const order of orders) writer.send(order, [])
    return writer.finish()
  } catch (error) {
    writer.close()
    throw error
  }
}

class Writer implements Sink {
  readonly #made: ArchiveDescriptors = { file: makeMemoryFile('ebb-archive'), queues: [] }
  /** The end of the last queue at which descriptors go in. */
  #queue: Channel | undefined

  send(bytes: Uint8Array, descriptors: readonly number[]): void {
    const prefix = Buffer.alloc(PREFIX)
    prefix.writeUInt32LE(bytes.length, 0)
    prefix.writeUInt32LE(descriptors.length, 4)
    writeAll(this.#made.file, prefix)
    writeAll(this.#made.file, bytes)
    if (descriptors.length === 0) return
    const errno = this.#queue?.trySend(NOTHING, descriptors) ?? E.EAGAIN
    if (errno === 0) return
    if (errno !== E.EAGAIN) throw systemError('sendmsg', errno)
    this.#addQueue()
    const again = (this.#queue as unknown as Channel).trySend(NOTHING, descriptors)
    if (again !== 0) throw systemError('sendmsg', again)
  }

  #addQueue(): void {
    const [input, output] = channelPair()
    this.#queue?.close()
    this.#queue = input
    this.#made.queues.push(output.fd)
  }

  finish(): ArchiveDescriptors {
    sealMemoryFile(this.#made.file)
    this.#queue?.close()
    return this.#made
  }

  close(): void {
    this.#queue?.close()
    closeArchive(this.#made)
  }
}

/**
 * Reads an archive, and closes its descriptors. What it has given is not in it any more.
 *
 * @throws {EbbError} `ERR_EBB_RUN_STORE`, `ERR_EBB_HANDOVER` if it is not complete, or not an archive; {SystemError}
 *   `EMFILE`; then all that was in it is closed
 */
export function readArchive(archive: ArchiveDescriptors): Archived {
  let holding: Holding | undefined
  try {
    if (!isSealed(archive.file)) throw damaged('its file is not sealed')
    const reader = new Reader(archive)
    const { message: first } = reader.next()
    if (first.kind !== WELCOME) throw damaged('it does not begin as one')
    holding = new Holding(decodeWelcome(first.payload))
    let total = -1
    while (total === -1) {
      const { message, descriptors } = reader.next()
      if (message.kind === COMMIT) total = decodeNumbers(message.payload, 4)[0] as number
      else takeAll(holding, message, descriptors)
    }
    if (total !== holding.size || !holding.isWhole) throw damaged('connections are missing')
    const orders: Buffer[] = []
    while (!reader.isAtEnd) {
      const { bytes, message } = reader.next()
      if (message.kind !== ORDER) throw damaged(`it has message ${message.kind}`)
      orders.push(bytes)
    }
    return { holding, orders }
  } catch (error) {
    holding?.close()
    throw error
  } finally {
    closeArchive(archive)
  }
}

function takeAll(holding: Holding, message: Message, descriptors: number[]): void {
  try {
    if (holding.take(message, descriptors) === -1) throw damaged(`it has message ${message.kind}`)
  } finally {
    for (const fd of descriptors) closeDescriptor(fd)
  }
}

interface Entry {
  bytes: Buffer
  message: Message
  descriptors: number[]
}

class Reader {
  readonly #file: number
  readonly #queues: Channel[]
  readonly #size: number
  #at = 0

  constructor({ file, queues }: ArchiveDescriptors) {
    this.#file = file
    this.#queues = queues.map((fd) => new Channel(fd))
    this.#size = fs.fstatSync(file).size
  }

  get isAtEnd(): boolean {
    return this.#at === this.#size
  }

  next(): Entry {
    const prefix = this.#read(PREFIX)
    const length = prefix.readUInt32LE(0)
    const count = prefix.readUInt32LE(4)
    if (length > MOST_BYTES || count > MOST_DESCRIPTORS) throw damaged('a message is too long')
    const bytes = this.#read(length)
    return { bytes, message: decode(bytes), descriptors: count === 0 ? [] : this.#descriptors(count) }
  }

  #read(length: number): Buffer {
    const bytes = Buffer.alloc(length)
    for (let read = 0; read < length; ) {
      const more = fs.readSync(this.#file, bytes, read, length - read, this.#at)
      if (more === 0) throw damaged('it is cut')
      read += more
      this.#at += more
    }
    return bytes
  }

  #descriptors(count: number): number[] {
    for (;;) {
      const received = this.#queues[0]?.tryReceive() ?? 'end'
      if (received === 'end') {
        if (this.#queues.shift() === undefined)
          throw damaged('systemd has not kept all of them (FileDescriptorStoreMax=)')
      } else if (received.descriptors.length === count) return received.descriptors
      else {
        for (const fd of received.descriptors) closeDescriptor(fd)
        throw damaged('descriptors are missing')
      }
    }
  }
}

function damaged(what: string): EbbError {
  return new EbbError('ERR_EBB_RUN_STORE', `stored connections cannot be used: ${what}`)
}
