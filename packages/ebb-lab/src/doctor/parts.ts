/** Sorts the memory of a process into parts by what the mappings are for. */
import { HEAP_MAX, type Heap, heapSize } from './malloc.js'
import type { Mapping } from './mappings.js'
import type { Pages } from './pages.js'
import type { ProcessRuntime } from './runtime.js'
import type { Thread } from './threads.js'

/**
 * What memory is for.
 *
 * - `heap`: the main heap of malloc, which grows with brk(2).
 * - `arenas`: heaps of malloc for threads, each at a multiple of 64 MiB.
 * - `v8`: pages of V8's heap, 256 KiB each. `v8-large`: objects that are too large for a page.
 * - `go`: the heap of Go, with the stacks of goroutines. `java`: the heap of a JVM.
 * - `code`: machine code that was made at run time.
 * - `stacks`: stacks of threads.
 * - `blocks`: any other anonymous mapping: blocks that malloc maps by themselves, buffers, caches of a runtime.
 * - `named`: anonymous mappings that the program has named (`PR_SET_VMA_ANON_NAME`); `name` is the name.
 * - `data`: variables of programs and libraries.
 * - `unknown`: anonymous memory that no mapping explains.
 * - `shared`: memory that processes can share: memfd, `/dev/shm`, System V; `name` is the object.
 * - `file`: pages of a mapped file; `name` is the file.
 */
export type PartKind =
  | 'heap'
  | 'arenas'
  | 'v8'
  | 'v8-large'
  | 'go'
  | 'java'
  | 'code'
  | 'stacks'
  | 'blocks'
  | 'named'
  | 'data'
  | 'unknown'
  | 'shared'
  | 'file'

/** A part of the resident memory of a process. */
export interface Part {
  kind: PartKind
  /** Which sum of the kernel it belongs to: `RssAnon`, or `RssFile` and `RssShmem`. */
  group: 'anonymous' | 'shared' | 'file'
  /** Name of the file, the shared object or the mappings; null for the other kinds. */
  name: string | null
  /** Resident bytes. */
  bytes: number
  /** Bytes of it in huge pages. */
  huge: number
  /** Bytes in swap, which `bytes` does not count. */
  swapped: number
  /** Number of mappings, or of heaps of arenas. */
  mappings: number
}

/** The stack of a thread. */
export interface Stack {
  /** Id of the thread; null for a stack whose thread has ended, or is not known. */
  tid: number | null
  /** Name of the thread; null as `tid`. */
  name: string | null
  /** Resident bytes. */
  bytes: number
}

/** Memory by part, and what was found on the way. */
export interface Sorted {
  parts: Part[]
  stacks: Stack[]
  /** Heaps of malloc, if the process uses glibc. */
  heaps: Heap[]
}

/** What {@link sortMappings} works with. */
export interface Sources {
  mappings: readonly Mapping[]
  runtime: ProcessRuntime
  threads: readonly Thread[]
  /** Undefined if this user may not look into the process: a mapping is then never split. */
  pages: Pages | undefined
  /** Largest stack of a thread, bytes. */
  stackLimit: number
}

/** V8 puts its pages at random addresses below this (`GetRandomMmapAddr()` of `platform-posix.cc`). */
const V8_HIGHEST = 0x4000_0000_0000
/** Alignment of V8's pages, and the size of one. */
const V8_PAGE = 0x4_0000
/** Go on 64-bit Linux asks for its heap from here on (`arenaBaseOffset` and `mallocinit()` of `malloc.go`). */
const GO_LOWEST = 0xc0_0000_0000
const GO_HIGHEST = 0x100_0000_0000
/** With compressed references, a JVM keeps its heap below 32 GiB. */
const JAVA_HIGHEST = 0x8_0000_0000
/** A guard in front of a stack is at most this large. */
const LARGEST_GUARD = 65_536

const SHARED = /^\/(?:memfd:|dev\/shm\/|SYSV|dev\/zero|\[shmem\])/

/** Sorts all mappings into parts. The parts of the group `anonymous` add up to the anonymous memory of the mappings. */
export function sortMappings(sources: Sources): Sorted {
  const sorter = new Sorter(sources)
  sources.mappings.forEach((_, i) => {
    sorter.add(i)
  })
  return sorter.result()
}

class Sorter {
  readonly #sources: Sources
  readonly #parts = new Map<string, Part>()
  readonly #stacks: Stack[] = []
  readonly #heaps: Heap[] = []
  /** Threads by the index of the mapping that their stack is in. */
  readonly #threads: Map<number, Thread>
  readonly #stackSizes: Set<number>
  /** File of the data segment that the last mapping belongs to; empty if it belongs to none. */
  #program = ''

  constructor(sources: Sources) {
    this.#sources = sources
    this.#threads = stackMappings(sources)
    const sizes = [...this.#threads.keys()].map((i) => sizeOf(sources.mappings[i] as Mapping))
    this.#stackSizes = new Set([...sizes, sources.stackLimit])
  }

  result(): Sorted {
    const parts = [...this.#parts.values()].filter(({ bytes, swapped }) => bytes > 0 || swapped > 0)
    return {
      parts: parts.sort((a, b) => b.bytes - a.bytes),
      stacks: this.#stacks.sort((a, b) => b.bytes - a.bytes),
      heaps: this.#heaps
    }
  }

  add(i: number): void {
    const { mappings } = this.#sources
    const mapping = mappings[i] as Mapping
    const { path, resident, anonymous, start } = mapping
    const isMapped = path.startsWith('/') || path.startsWith('anon_inode:')
    if (isMapped && resident > anonymous) {
      const kind = SHARED.test(path) ? 'shared' : 'file'
      this.#count(mapping, kind, { bytes: resident - anonymous, huge: 0, swapped: 0, name: path })
    }
    const follows = mappings[i - 1]?.end === start
    if (isMapped) this.#program = mapping.access.includes('w') ? path : ''
    else if (!follows || path !== '') this.#program = ''
    if (anonymous === 0 && mapping.swapped === 0) return
    if (isMapped) this.#count(mapping, 'data')
    else this.#addAnonymous(mapping, i, follows)
  }

  #addAnonymous(mapping: Mapping, i: number, follows: boolean): void {
    const { path, start, end } = mapping
    const named = /^\[anon(?:_shmem)?: *(.*)\]$/.exec(path)?.[1]
    const kind = this.#kindOf(mapping, follows)
    if (path === '[heap]') this.#heaps.push({ start, end, main: true })
    if (named !== undefined) this.#count(mapping, 'named', { name: named })
    else if (path.startsWith('[stack')) this.#addStack(mapping, i)
    else if (kind !== undefined) this.#count(mapping, kind)
    else if (this.#addArenas(mapping, i)) return
    else if (this.#threads.has(i) || this.#looksLikeStack(mapping, i)) this.#addStack(mapping, i)
    else this.#count(mapping, 'blocks')
  }

  /** Returns the kind of a mapping that its name, its place or its access tells. */
  #kindOf(mapping: Mapping, follows: boolean): PartKind | undefined {
    const { path, access } = mapping
    if (path !== '') return path === '[heap]' ? 'heap' : 'blocks'
    if (follows && this.#program !== '') return 'data'
    return this.#runtimeKind(mapping) ?? (access.includes('x') ? 'code' : undefined)
  }

  /** Returns the kind of a mapping that belongs to the runtime's own heap. */
  #runtimeKind({ start, end, access }: Mapping): PartKind | undefined {
    switch (this.#sources.runtime.name) {
      case 'node':
      case 'deno':
        if (start >= V8_HIGHEST || start % V8_PAGE !== 0) return undefined
        if (access.includes('x')) return 'code'
        return end - start > V8_PAGE ? 'v8-large' : 'v8'
      case 'go':
        return start >= GO_LOWEST && start < GO_HIGHEST ? 'go' : undefined
      case 'java':
        return start < JAVA_HIGHEST && !access.includes('x') ? 'java' : undefined
      default:
        return undefined
    }
  }

  /** Counts the arenas within a mapping. Mappings below and above an arena may be one with it. */
  #addArenas(mapping: Mapping, i: number): boolean {
    const { runtime, pages } = this.#sources
    if (runtime.allocator !== 'glibc' || !mapping.access.startsWith('rw')) return false
    const { start, end } = mapping
    let rest = mapping
    let found = false
    for (let at = Math.ceil(start / HEAP_MAX) * HEAP_MAX; at < end; at += HEAP_MAX) {
      const to = Math.min(end, at + HEAP_MAX)
      const size = pages && heapSize(pages, at)
      if (size === 0 || ((size ?? null) === null && !this.#endsAsArena(i, at, to))) continue
      found = true
      if (size) this.#heaps.push({ start: at, end: at + size, main: false })
      const piece = this.#piece(rest, at, to)
      this.#count(piece, 'arenas')
      rest = without(rest, piece)
    }
    if (found && rest.anonymous > 0) this.#count(rest, 'blocks')
    return found
  }

  /** Whether the rest of an arena's address space follows, which no access is allowed to. */
  #endsAsArena(i: number, at: number, to: number): boolean {
    const next = this.#sources.mappings[i + 1]
    return next !== undefined && next.start === to && next.access === '---p' && next.end >= at + HEAP_MAX
  }

  /** Whether a mapping lies behind a guard and has the size of a stack: glibc keeps stacks of threads that ended. */
  #looksLikeStack(mapping: Mapping, i: number): boolean {
    return isGuarded(this.#sources.mappings, i) && this.#stackSizes.has(sizeOf(mapping))
  }

  #addStack(mapping: Mapping, i: number): void {
    const { stackLimit } = this.#sources
    const thread = this.#threads.get(i)
    // Memory that was mapped above a stack may be one mapping with it.
    const isLarger = sizeOf(mapping) > 2 * Math.max(stackLimit, HEAP_MAX / 8)
    const stack = isLarger ? this.#piece(mapping, mapping.start, mapping.start + stackLimit) : mapping
    this.#count(stack, 'stacks')
    this.#stacks.push({ tid: thread?.tid ?? null, name: thread?.name ?? null, bytes: stack.anonymous })
    if (isLarger) this.#count(without(mapping, stack), 'blocks')
  }

  /** Returns a part of a mapping as a mapping, with the figures of the part. */
  #piece(mapping: Mapping, start: number, end: number): Mapping {
    if (start <= mapping.start && end >= mapping.end) return mapping
    const bytes = this.#sources.pages?.residentBytes(start, end) ?? null
    const share = bytes === null ? (end - start) / sizeOf(mapping) : bytes / Math.max(1, mapping.resident)
    const anonymous = Math.min(mapping.anonymous, bytes ?? Math.round(mapping.anonymous * share))
    const huge = Math.round(mapping.huge * Math.min(1, share))
    return { ...mapping, start, end, resident: anonymous, anonymous, huge, swapped: 0 }
  }

  #count(mapping: Mapping, kind: PartKind, figures: Partial<Part> = {}): void {
    const { anonymous, huge, swapped } = mapping
    const { bytes = anonymous, name = null } = figures
    const key = `${kind} ${name}`
    let part = this.#parts.get(key)
    if (part === undefined) {
      const group = kind === 'shared' || kind === 'file' ? kind : 'anonymous'
      part = { kind, group, name, bytes: 0, huge: 0, swapped: 0, mappings: 0 }
      this.#parts.set(key, part)
    }
    part.bytes += bytes
    part.huge += figures.huge ?? huge
    part.swapped += figures.swapped ?? swapped
    part.mappings++
  }
}

/** Returns a mapping without the figures of a part of it. */
function without(mapping: Mapping, piece: Mapping): Mapping {
  return {
    ...mapping,
    resident: mapping.resident - piece.resident,
    anonymous: mapping.anonymous - piece.anonymous,
    huge: mapping.huge - piece.huge
  }
}

/** Returns the threads by the index of the mapping that their stack pointer is in. */
function stackMappings({ mappings, threads }: Sources): Map<number, Thread> {
  const found = new Map<number, Thread>()
  for (const thread of threads) {
    if (thread.stack === undefined) continue
    const i = indexOf(mappings, thread.stack)
    const mapping = mappings[i]
    if (mapping === undefined || mapping.path.startsWith('/')) continue
    // A stack without a guard is part of something else: of a heap, if a runtime manages its stacks itself.
    if (mapping.path.startsWith('[stack') || isGuarded(mappings, i)) found.set(i, thread)
  }
  return found
}

/** Whether a range without access, no larger than a guard, ends where a mapping begins. */
function isGuarded(mappings: readonly Mapping[], i: number): boolean {
  const [guard, mapping] = [mappings[i - 1], mappings[i]]
  if (guard === undefined || mapping === undefined || guard.end !== mapping.start) return false
  return guard.access.startsWith('---') && sizeOf(guard) <= LARGEST_GUARD
}

/** Returns the index of the mapping that contains an address; -1 if there is none. */
function indexOf(mappings: readonly Mapping[], address: number): number {
  let [low, high] = [0, mappings.length - 1]
  while (low <= high) {
    const middle = (low + high) >> 1
    const { start, end } = mappings[middle] as Mapping
    if (address < start) high = middle - 1
    else if (address >= end) low = middle + 1
    else return middle
  }
  return -1
}

function sizeOf({ start, end }: Mapping): number {
  return end - start
}
