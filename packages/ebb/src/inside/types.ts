/** What a process answers at its inside socket. */
import type { GovernorStats } from '../govern/stats.js'
import type { MallocState } from '../sys/malloc-info.js'
import type { ServerReport } from '../sys/served.js'

/** What a release would do. */
export interface Prediction {
  /** Bytes of anonymous memory that it would return to the system. */
  expected: number
  /** Part of `expected` from V8's heap, bytes. */
  heap: number
  /** Part of `expected` from `malloc`, bytes. */
  malloc: number
  /** The longest pause of the event loop that it would cause, ms. */
  stop: number
}

/** A space of V8's heap. Bytes. */
export interface HeapSpace {
  /** As V8 calls it: `new_space`, `old_space`, `code_space`, ... */
  name: string
  /** Bytes of objects, garbage that is not collected yet included. */
  used: number
  /** Bytes that V8 has from the system. */
  committed: number
  /** Bytes of `committed` in physical memory, as V8 counts them. */
  physical: number
}

/** V8's heap of the main thread, and what belongs to it. Bytes. */
export interface HeapView {
  /** The most that the heap may take (`--max-old-space-size` and the young generation). */
  limit: number
  /** The spaces of the heap, in V8's order. */
  spaces: HeapSpace[]
  /** Compiled code and its metadata, in the heap. */
  code: number
  /** Source text of programs outside of the heap. */
  source: number
  /** Memory of `ArrayBuffer`s and `Buffer`s, outside of the heap. Part of `external`. */
  arrayBuffers: number
  /** Memory outside of the heap that objects of the heap hold. */
  external: number
  /** Memory that V8 itself has from `malloc`: zones of the parser and the compiler, tables. */
  mallocedByV8: number
}

/** What glibc's `malloc` holds. Bytes. */
export interface MallocView extends MallocState {
  /** Bytes of `free` that a release would return to the system. */
  releasable: number
}

/** What runs a program. */
export interface Runtime {
  /** `node`. */
  name: string
  /** As `process.version` has it. */
  version: string
}

/** Numbers of threads of a process. */
export interface ThreadCounts {
  /** All threads of the process. */
  all: number
  /** Worker threads that run; undefined if no governor watches them (`EBB_WORKERS=0`). */
  workers?: number
}

/** The counters of a process: of its governor and its servers. They cost little to ask for again and again. */
export interface InsideCounters {
  /** Always 1. */
  version: number
  /** Process id, as the process itself sees it: in a container, often 1. */
  pid: number
  /** What the process governor has done. Undefined if none runs. */
  governor?: GovernorStats
  /** Servers of `park()`, `ebb/net`, `listen()`, `ebb/ws` and `hibernate()` that listen or have connections. */
  servers: ServerReport[]
}

/** The inside of a process, as it answers at its inside socket. All sizes are bytes, all times ms. */
export interface Inside extends InsideCounters {
  /** Name and version of the runtime: `node` and `v22.3.0`. */
  runtime: Runtime
  /** Milliseconds since the process started. */
  uptime: number
  /** Name of the allocator that serves `malloc`. */
  allocator: string
  /** V8's heap of the main thread. */
  heap: HeapView
  /** Undefined if the allocator is not glibc's. */
  malloc?: MallocView
  /** Number of threads. */
  threads: ThreadCounts
  /** Number of handles and requests that keep the process running, by kind (`process.getActiveResourcesInfo()`). */
  handles: Record<string, number>
  /** What a release would do now. */
  release: Prediction
}
