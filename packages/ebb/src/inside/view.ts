/** The inside of this process: what its runtime, its allocator and this library know of its memory. */
import { getHeapCodeStatistics, getHeapSpaceStatistics, getHeapStatistics } from 'node:v8'
import { runningGovernor } from '../govern/process-governor.js'
import { allocator } from '../memory/allocator.js'
import { runningWorkers } from '../memory/workers.js'
import { self } from '../proc/process.js'
import { mallocState } from '../sys/malloc-info.js'
import { servedNow } from '../sys/served.js'
import { VERSION } from './name.js'
import { predict } from './prediction.js'
import type { HeapView, Inside, InsideCounters } from './types.js'

/** Returns the inside of this process, as its inside socket answers it. Takes a few ms. */
export function inside(): Inside {
  // First, because a governor that has not begun yet begins when it is asked.
  const counted = counters()
  const { name } = allocator()
  const heap = heapView()
  const malloc = name === 'glibc' ? mallocState() : undefined
  const release = predict(heap, malloc)
  const workers = runningWorkers()
  return {
    ...counted,
    runtime: { name: 'node', version: process.version },
    uptime: process.uptime() * 1000,
    allocator: name,
    heap,
    ...(malloc && { malloc: { ...malloc, releasable: release.malloc } }),
    threads: { all: self().threads, ...(workers !== undefined && { workers }) },
    handles: countedByName(process.getActiveResourcesInfo()),
    release
  }
}

/** Returns what the governor and the servers of this process count. */
export function counters(): InsideCounters {
  const governor = runningGovernor()?.stats()
  return { version: VERSION, pid: process.pid, ...(governor && { governor }), servers: servedNow() }
}

function heapView(): HeapView {
  const { heap_size_limit, malloced_memory } = getHeapStatistics()
  const { code_and_metadata_size, bytecode_and_metadata_size, external_script_source_size } = getHeapCodeStatistics()
  const { arrayBuffers, external } = process.memoryUsage()
  return {
    limit: heap_size_limit,
    spaces: getHeapSpaceStatistics().map((space) => ({
      name: space.space_name,
      used: space.space_used_size,
      committed: space.space_size,
      physical: space.physical_space_size
    })),
    code: code_and_metadata_size + bytecode_and_metadata_size,
    source: external_script_source_size,
    arrayBuffers,
    external,
    mallocedByV8: malloced_memory
  }
}

function countedByName(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1
  return counts
}
