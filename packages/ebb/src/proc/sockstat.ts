/** Socket memory: what connections cost in the kernel, outside every process. */
import fs from 'node:fs'
import os from 'node:os'
import { ProcFile } from './proc-file.js'

/**
 * Bytes. Buffers only, that is data waiting to be sent or read; the socket structures themselves are slab memory
 * and not in here, so that connections without traffic cost 0.
 *
 * The kernel keeps `tcp` and `udp` for the whole machine, not for each network namespace, and books them in portions:
 * up to 1 MB for each CPU may be held back. `fragments` belongs to the namespace.
 */
export interface KernelFigures {
  tcp: number
  udp: number
  fragments: number
  /** The three together. */
  total: number
}

const TCP = Buffer.from('\nTCP:')
const UDP = Buffer.from('\nUDP:')
const FRAGMENTS = Buffer.from('\nFRAG:')
const FRAGMENTS6 = Buffer.from('FRAG6:')
const PAGES = Buffer.from(' mem ')
const BYTES = Buffer.from(' memory ')

/**
 * Socket memory, read again and again through descriptors that stay open. It outlives the process it was opened for:
 * what it reads belongs to the network namespace.
 */
export class KernelMemory {
  readonly #v4: ProcFile
  /** Null on a machine without IPv6. */
  readonly #v6: ProcFile | null
  readonly #page = pageSize()

  /** In the network namespace of `pid`, or of this process. Throws what `open(2)` throws. */
  constructor(pid?: number) {
    const folder = `/proc/${pid ?? 'self'}/net`
    this.#v4 = new ProcFile(`${folder}/sockstat`, 1024)
    try {
      this.#v6 = openOptional(`${folder}/sockstat6`)
    } catch (error) {
      this.#v4.close()
      throw error
    }
  }

  /** Throws what `read(2)` throws. */
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

/** Socket memory now, in the network namespace of `pid`, or of this process. To sample, keep a {@link KernelMemory}. */
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
 * The size of a page, bytes: 4,096 on x86, up to 65,536 elsewhere. From the auxiliary vector, the table of numbers that
 * the kernel hands every program at its start (getauxval(3)).
 */
export function pageSize(): number {
  page ??= readPageSize()
  return page
}

function readPageSize(): number {
  const vector = fs.readFileSync('/proc/self/auxv')
  const word = NARROW.has(process.arch) ? 4 : 8
  const at = os.endianness() === 'LE' ? 0 : word - 4
  // Both numbers fit 32 bits, of which the words are wide enough: only their low half is read.
  const low = (offset: number) =>
    os.endianness() === 'LE' ? vector.readUInt32LE(offset + at) : vector.readUInt32BE(offset + at)
  for (let offset = 0; offset + 2 * word <= vector.length; offset += 2 * word) {
    if (low(offset) === AT_PAGESZ) return low(offset + word)
  }
  throw Object.assign(new Error('/proc/self/auxv does not say how large a page is'), {
    code: 'ENODATA',
    syscall: 'read'
  })
}

/** The figure after `key` in the line that starts with `label`; 0 where either is missing. */
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
