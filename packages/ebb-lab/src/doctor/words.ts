/** Says in words what each part of the memory is, and what would return it to the system. */
import { integer } from '../units/format.js'
import type { Diagnosis } from './diagnosis.js'
import type { Part, PartKind } from './parts.js'
import type { RuntimeName } from './runtime.js'

/** Names of runtimes as people write them. */
export const RUNTIME_NAMES: Record<RuntimeName, string> = {
  node: 'Node',
  deno: 'Deno',
  bun: 'Bun',
  go: 'Go',
  java: 'Java',
  dotnet: '.NET',
  python: 'Python',
  ruby: 'Ruby',
  php: 'PHP',
  perl: 'Perl',
  erlang: 'Erlang',
  native: 'native program'
}

/** What a part of a kind is. `{n}` stands for the number of mappings. */
const TITLES: Record<PartKind, string> = {
  heap: 'malloc: main heap (brk)',
  arenas: 'malloc: arenas of threads, {n} heaps',
  v8: "V8's heap: {n} regions of pages",
  'v8-large': "V8's heap: {n} large objects",
  go: 'heap of Go and stacks of goroutines',
  java: 'Java heap',
  code: 'machine code made at run time',
  stacks: 'stacks of {n} threads',
  blocks: 'mapped blocks: {n} regions',
  named: 'mapped and named',
  data: 'variables of programs and libraries',
  unknown: 'unknown: no mapping explains it',
  shared: 'shared memory',
  file: 'files'
}

/** What mapped blocks are in a program of a runtime. */
const BLOCKS: Partial<Record<RuntimeName, string>> = {
  node: 'buffers, WebAssembly, blocks of malloc above 128 KiB',
  python: 'arenas of pymalloc, blocks of malloc above 128 KiB',
  go: 'bookkeeping of the Go runtime, and what C has mapped',
  java: 'metaspace, bookkeeping of the garbage collector, buffers',
  dotnet: 'heaps of .NET, buffers',
  bun: "heaps of Bun's allocators, buffers"
}

/** What returns memory of a kind to the system. */
const RETURNED_BY: Record<PartKind, string> = {
  heap: 'malloc_trim(0), where blocks are freed',
  arenas: 'malloc_trim(0), where blocks are freed',
  v8: 'a garbage collection, where objects are dead',
  'v8-large': 'a garbage collection, where objects are dead',
  go: 'a garbage collection and some minutes, or debug.FreeOSMemory()',
  java: 'a garbage collection that uncommits memory: see the advice',
  code: 'nothing',
  stacks: 'the end of the threads',
  blocks: 'freeing them: malloc unmaps its large blocks at once',
  named: 'freeing it',
  data: 'nothing: variables live as long as the process',
  unknown: 'not known',
  shared: 'unmapping it in every process, and deleting its file',
  file: 'the kernel, when memory is short: it reads them again when they are used'
}

/** Returns what a part is: `malloc: 8 arenas of threads`. */
export function titleOf(part: Part, { runtime }: Pick<Diagnosis, 'runtime'>): string {
  const { kind, name, mappings } = part
  const title = TITLES[kind].replace('{n}', integer(mappings)).replace(/\b1 (\w+)s\b/, '1 $1')
  if (name !== null) return `${title}: ${name}`
  const blocks = BLOCKS[runtime.name]
  return kind === 'blocks' && blocks !== undefined ? `${title} (${blocks})` : title
}

/** Returns what would return a part to the system. */
export function returnedBy({ kind }: Part): string {
  return RETURNED_BY[kind]
}
