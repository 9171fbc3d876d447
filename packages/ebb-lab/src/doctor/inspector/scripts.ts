/** Scripts that the inspector evaluates in another process, which may run an older Node and no ebb. */
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'

/** Returns the script whose value is `{ inside, released }`: see `NodeAnswer`. */
export function insideScript(release: boolean): string {
  // The CommonJS edition can be loaded by every Node, wherever its files are.
  const ebb = dirname(createRequire(import.meta.url).resolve('ebb/package.json'))
  const file = join(ebb, 'dist/cjs/memory.js')
  return `(${release ? RELEASE : insideOf})(${JSON.stringify(file)})`
}

/** Returns the script that closes the inspector, once the session that has sent it is closed. */
export function closeScript(): string {
  return `(${closeSoon})()`
}

/** Loads the library into the process, and has it do what the inside socket does. */
const RELEASE = `file => {
  const load = process.getBuiltinModule('node:module').createRequire(file)
  const { inside, releaseInside } = load(file)
  const before = inside()
  return releaseInside().then((released) => ({ inside: before, released }))
}`

// The functions below are sent as text: they use nothing of this file.

function insideOf(): object {
  const v8 = process.getBuiltinModule('node:v8')
  const heap = v8.getHeapStatistics()
  const code = v8.getHeapCodeStatistics()
  const { arrayBuffers, external } = process.memoryUsage()
  const handles: Record<string, number> = {}
  for (const kind of process.getActiveResourcesInfo()) handles[kind] = (handles[kind] ?? 0) + 1
  const inside = {
    version: 1,
    pid: process.pid,
    runtime: { name: 'node', version: process.version },
    uptime: process.uptime() * 1000,
    heap: {
      limit: heap.heap_size_limit,
      spaces: v8.getHeapSpaceStatistics().map((space) => ({
        name: space.space_name,
        used: space.space_used_size,
        committed: space.space_size,
        physical: space.physical_space_size
      })),
      code: code.code_and_metadata_size + code.bytecode_and_metadata_size,
      source: code.external_script_source_size,
      arrayBuffers,
      external,
      mallocedByV8: heap.malloced_memory
    },
    handles
  }
  return { inside, released: null }
}

function closeSoon(): void {
  setTimeout(() => process.getBuiltinModule('node:inspector').close(), 50)
}
