/** Finds out which runtime and which allocator a process uses. */
import fs from 'node:fs'
import path from 'node:path'
import { describe } from '../process/describe.js'
import type { Mapping } from './mappings.js'

/** Runtimes that the doctor knows. `native`: none of the others; C, C++, Rust and so on. */
export type RuntimeName =
  | 'node'
  | 'deno'
  | 'bun'
  | 'go'
  | 'java'
  | 'dotnet'
  | 'python'
  | 'ruby'
  | 'php'
  | 'perl'
  | 'erlang'
  | 'native'

/** Allocators that the doctor knows. `unknown`: linked into the program, or none. */
export type Allocator = 'glibc' | 'musl' | 'jemalloc' | 'tcmalloc' | 'mimalloc' | 'unknown'

/** Runtime and allocator of a process. */
export interface ProcessRuntime {
  name: RuntimeName
  /** Null if it is not known. */
  version: string | null
  allocator: Allocator
}

/** Libraries that tell the runtime of a program that embeds it. */
const RUNTIME_LIBRARIES: [RegExp, RuntimeName][] = [
  [/^libjvm\.so/, 'java'],
  [/^libcoreclr\.so/, 'dotnet'],
  [/^libnode\.so/, 'node'],
  [/^libpython[\d.]*\.so/, 'python'],
  [/^libruby[\w.-]*\.so/, 'ruby'],
  [/^libperl\.so/, 'perl'],
  [/^libphp[\d.]*\.so/, 'php']
]

/** The first that is mapped replaces malloc of those below. */
const ALLOCATOR_LIBRARIES: [RegExp, Allocator][] = [
  [/^libjemalloc[\w.-]*\.so/, 'jemalloc'],
  [/^libtcmalloc[\w.-]*\.so/, 'tcmalloc'],
  [/^libmimalloc[\w.-]*\.so/, 'mimalloc'],
  [/^(?:ld-musl-.*|libc\.musl-.*)\.so/, 'musl'],
  [/^libc(?:\.so\.6|-2\.\d+\.so)$/, 'glibc']
]

/** `node::Start`, which the program Node exports for addons, under any file name. */
const NODE_SYMBOL = Buffer.from('\0_ZN4node5StartEiPPc\0')
/** A program that contains Node is at least this large. */
const SMALLEST_NODE = 30e6
const CHUNK = 4_194_304

const NAMES = new Set<string>([
  'node',
  'deno',
  'bun',
  'go',
  'java',
  'dotnet',
  'python',
  'ruby',
  'php',
  'perl',
  'erlang'
])

/** Returns runtime and allocator of a process. */
export async function runtimeOf(pid: number, mappings: readonly Mapping[]): Promise<ProcessRuntime> {
  const files = new Set(mappings.map(({ path: file }) => path.basename(file.replace(/ \(deleted\)$/, ''))))
  const among = <T>(known: [RegExp, T][]): T | undefined =>
    known.find(([pattern]) => [...files].some((file) => pattern.test(file)))?.[1]
  const allocator = among(ALLOCATOR_LIBRARIES) ?? 'unknown'
  const { runtime } = await describe(pid)
  if (runtime !== null && NAMES.has(runtime.name)) {
    return { name: runtime.name as RuntimeName, version: runtime.version, allocator }
  }
  const embedded = among(RUNTIME_LIBRARIES)
  if (embedded !== undefined) return { name: embedded, version: null, allocator }
  return { name: isNode(`/proc/${pid}/exe`) ? 'node' : 'native', version: null, allocator }
}

/** Whether a program contains Node: a program with another name, or a single executable application. */
function isNode(executable: string): boolean {
  let fd: number
  try {
    fd = fs.openSync(executable, 'r')
  } catch {
    return false
  }
  try {
    if (fs.fstatSync(fd).size < SMALLEST_NODE) return false
    // Chunks overlap, so that one of them contains the whole name.
    const buffer = Buffer.alloc(CHUNK + NODE_SYMBOL.length)
    for (let position = 0; ; position += CHUNK) {
      const count = fs.readSync(fd, buffer, 0, buffer.length, position)
      if (buffer.subarray(0, count).includes(NODE_SYMBOL)) return true
      if (count < buffer.length) return false
    }
  } catch {
    return false
  } finally {
    fs.closeSync(fd)
  }
}
