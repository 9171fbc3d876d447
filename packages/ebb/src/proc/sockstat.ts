/** Socket memory: what connections cost in the kernel, outside of every process. */
import fs from 'node:fs'
import os from 'node:os'
import { checkPid } from '../sys/arguments.js'
import { RefusedError } from '../sys/errors.js'
import { ProcFile } from './proc-file.js'

/**
 * Memory of socket buffers, bytes: data that waits to be sent or read. The socket structures are slab memory and do not
 * count, so connections without traffic cost 0.
 *
 * The kernel counts `tcp` and `udp` for the whole machine, not per network namespace, and in portions: up to 1 MB per
 * CPU may not be counted yet. It counts `fragments` per network namespace.
 */
export interface KernelFigures {
  /** Buffers of TCP sockets. */
  tcp: number
  /** Buffers of UDP sockets. */
  udp: number
  /** IP fragments that wait for the rest of their packet. */
  fragments: number
  /** Sum of the three. */
  total: number
}

const TCP = Buffer.from('\nTCP:')
const UDP = Buffer.from('\nUDP:')
const FRAGMENTS = Buffer.from('\nFRAG:')
const FRAGMENTS6 = Buffer.from('FRAG6:')
const PAGES = Buffer.from(' mem ')
const BYTES = Buffer.from(' memory ')

/**
 * Reads socket memory through descriptors that stay open. It still works after the process for which it was opened has
 * ended, because the figures belong to the network namespace.
 */
export class KernelMemory {
  readonly #v4: ProcFile
  /** null on a machine without IPv6. */
  readonly #v6: ProcFile | null
  readonly #page = pageSize()

  /** Opens the figures of the network namespace of `pid`, or of this process. Throws the errors of `open(2)`. */
  constructor(pid?: number) {
    if (pid !== undefined) checkPid(pid)
    const folder = `/proc/${pid ?? 'self'}/net`
    this.#v4 = new ProcFile(`${folder}/sockstat`, 1024)
    try {
      this.#v6 = openOptional(`${folder}/sockstat6`)
    } catch (error) {
      this.#v4.close()
      throw error
    }
  }

  /** Reads the figures. Throws the errors of `read(2)`. */
  read(): KernelFigures {
    this.#v4.read()
    this.#v6?.read()
    const tcp = inLine(this.#v4, TCP, PAGES) * this.#page
    const udp = inLine(this.#v4, UDP, PAGES) * this.#page
    const fragments = inLine(this.#v4, FRAGMENTS, BYTES) + (this.#v6 ? inLine(this.#v6, FRAGMENTS6, BYTES) : 0)
    return { tcp, udp, fragments, total: tcp + udp + fragments }
  }

  /** Closes the descriptors. Closing twice is allowed. */
  close(): void {
    this.#v4.close()
    this.#v6?.close()
  }
}

/**
 * Reads socket memory once, in the network namespace of `pid`, or of this process. To sample, keep a {@link
 * KernelMemory}. Throws the errors of `open(2)` and `read(2)`.
 */
export function kernelMemory(pid?: number): KernelFigures {
  const memory = new KernelMemory(pid)
  try {
    return memory.read()
  } finally {
    memory.close()
  }
}

/** `AT_PAGESZ` of `include/uapi/linux/auxvec.h`. */
const AT_PAGESZ = 6
const NARROW = new Set(['arm', 'ia32', 'mips', 'mipsel'])
let page: number | undefined

/**
 * Returns the size of a page, bytes: 4,096 on x86, up to 65,536 elsewhere. Reads it from the auxiliary vector, a table
 * of numbers that the kernel gives each program at its start (getauxval(3)).
 *
 * Throws the errors of `open(2)` where there is no `/proc`, and `ENODATA` if the vector has no page size.
 */
export function pageSize(): number {
  page ??= readPageSize()
  return page
}

function readPageSize(): number {
  let vector: Buffer
  try {
    vector = fs.readFileSync('/proc/self/auxv')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EACCES') throw error
    return pageSizeOfMapping(error)
  }
  const word = NARROW.has(process.arch) ? 4 : 8
  const at = os.endianness() === 'LE' ? 0 : word - 4
  // Both numbers fit into 32 bits, so the low half of each word is enough.
  const low = (offset: number) =>
    os.endianness() === 'LE' ? vector.readUInt32LE(offset + at) : vector.readUInt32BE(offset + at)
  for (let offset = 0; offset + 2 * word <= vector.length; offset += 2 * word) {
    if (low(offset) === AT_PAGESZ) return low(offset + word)
  }
  throw new RefusedError('ENODATA', 'read', '/proc/self/auxv does not contain the page size')
}

/**
 * Returns the page size of the first mapping. For a program that has given up root: its `auxv` is still root's, and
 * nobody else may read it, but everybody may open `smaps`.
 *
 * @param refused thrown if there is none
 */
function pageSizeOfMapping(refused: unknown): number {
  const start = Buffer.alloc(1024)
  const fd = fs.openSync('/proc/self/smaps', 'r')
  try {
    const text = start.toString('latin1', 0, fs.readSync(fd, start))
    const size = /^KernelPageSize:\s*(\d+) kB$/m.exec(text)?.[1]
    if (size === undefined) throw refused
    return Number(size) * 1024
  } finally {
    fs.closeSync(fd)
  }
}

/** Returns the number after `key` in the line that starts with `label`; 0 if either is missing. */
function inLine(file: ProcFile, label: Buffer, key: Buffer): number {
  const start = file.find(label)
  if (start === -1) return 0
  const end = file.buffer.indexOf(0x0a, start + label.length)
  return Math.max(0, file.figure(key, start, end === -1 || end > file.length ? file.length : end))
}

function openOptional(path: string): ProcFile | null {
  try {
    return new ProcFile(path, 1024)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}
